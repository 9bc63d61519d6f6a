"""How good classifiers are and how close to their teacher, on rows."""
