"""Which versions of transformers the reaches into its private parts were tested with.

A few files use what transformers does not promise to keep: the marks of a model's attention
(`attention`), and the inside of ModernBERT (`students.classifier.fast_transformer`). Each is
compared with the stock path in a test. With another version than those named here they stand
aside, and the stock path is taken: slower, and right.
"""

from __future__ import annotations

TESTED_TRANSFORMERS = ((5, 24),)
"""Major and minor numbers of the versions that the tests ran with; `pyproject.toml` ends where
they end."""


def transformers_was_tested() -> bool:
    """True if the installed transformers is a version that the tests ran with."""
    import transformers

    major, minor, *_ = transformers.__version__.split(".")
    return (int(major), int(minor)) in TESTED_TRANSFORMERS
