"""Rows of a file as documents for a language model: rendered, tokenized, split, packed."""
