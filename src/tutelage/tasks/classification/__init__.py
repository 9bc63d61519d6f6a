"""Choosing one of the labels for a text."""
