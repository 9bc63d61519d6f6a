"""Students: the small models that learn from a teacher, their vocabularies, their first embeddings, their folders.

In: texts, labels, perhaps a teacher's language model. Out: a fresh model with its tokenizer, and, once trained, a
folder that `transformers` loads. Names are resolved when first used, so that the configuration of the recurrent
student can be imported without torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing takes

if TYPE_CHECKING:
    from typing import Any

    from tutelage.students.configuration import RecurrentConfig
    from tutelage.students.embeddings import set_embeddings, teacher_embeddings
    from tutelage.students.predict import Predictor
    from tutelage.students.pretrained import load_pretrained
    from tutelage.students.rnn import RecurrentForSequenceClassification, build_rnn
    from tutelage.students.save import save
    from tutelage.students.specs import RNN, Pretrained, Transformer
    from tutelage.students.tokenizer import train_tokenizer
    from tutelage.students.transformer import build_transformer
    from tutelage.students.trimming import trim_tokenizer

__all__ = [
    "RNN",
    "Predictor",
    "Pretrained",
    "RecurrentConfig",
    "RecurrentForSequenceClassification",
    "Transformer",
    "build_rnn",
    "build_transformer",
    "load_pretrained",
    "save",
    "set_embeddings",
    "teacher_embeddings",
    "train_tokenizer",
    "trim_tokenizer",
]

_NAMES = {
    "RNN": "specs",
    "Predictor": "predict",
    "Pretrained": "specs",
    "RecurrentConfig": "configuration",
    "RecurrentForSequenceClassification": "rnn",
    "Transformer": "specs",
    "build_rnn": "rnn",
    "build_transformer": "transformer",
    "load_pretrained": "pretrained",
    "save": "save",
    "set_embeddings": "embeddings",
    "teacher_embeddings": "embeddings",
    "train_tokenizer": "tokenizer",
    "trim_tokenizer": "trimming",
}


def __getattr__(name: str) -> Any:
    """A public name of this room, imported when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(f"module 'tutelage.students' has no attribute {name!r}; names: {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"tutelage.students.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, with what the module holds anyway."""
    return sorted({*globals(), *__all__})
