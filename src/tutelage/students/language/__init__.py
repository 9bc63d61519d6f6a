"""Students that write: recurrent networks and small transformers that predict tokens, their sizes,
their adapters.
"""
