"""A causal language model that says how likely every token is next, and what of that is written
down.
"""
