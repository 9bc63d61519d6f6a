"""Predicting a text token by token."""
