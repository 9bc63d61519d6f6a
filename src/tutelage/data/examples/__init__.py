"""Rows of a file as examples for classification: read, checked, split, made more of, as tensors."""
