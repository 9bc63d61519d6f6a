"""The static student: a vector for each token, their weighted mean, a small network on top."""
