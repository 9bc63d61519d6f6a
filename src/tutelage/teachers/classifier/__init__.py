"""A language model or encoder with a classification head: fitted to labelled rows first, or found
fitted.
"""
