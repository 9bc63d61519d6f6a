"""The small models of the rooms above, which these tests load and read."""

from tests.students.conftest import llama, texts
from tests.teachers.conftest import _one_thread, language_model, tokenizer

__all__ = ["_one_thread", "language_model", "llama", "texts", "tokenizer"]
