"""How good language models are and how close to their teacher, on documents."""
