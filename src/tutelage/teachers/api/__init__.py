"""Teachers behind an API: decisions, log-probabilities of chat and completions, classifiers."""
