"""A teacher whose answers are there already: probabilities, votes or labels in a file of one's own,
a store of soft targets, or a log of calls of an API.
"""
