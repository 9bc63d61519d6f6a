"""Steps of a language-model student: packed documents, soft targets, the cost of a batch."""
