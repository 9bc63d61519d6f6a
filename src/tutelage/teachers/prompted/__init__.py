"""A language model that is asked with a prompt, and answers through the probabilities of label
words.
"""
