"""Students: the small models that learn from a teacher, their vocabularies, their first embeddings, their folders.

In: texts, labels, perhaps a teacher's language model. Out: a fresh model with its tokenizer, and, once trained, a
folder that `transformers` loads. Names are resolved when first used, so that the configurations of the recurrent
students can be imported without torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing takes

if TYPE_CHECKING:
    from typing import Any

    from tutelage.students.configuration import RecurrentConfig
    from tutelage.students.embeddings import set_embeddings, teacher_embeddings
    from tutelage.students.language import (
        OutputLayer,
        final_states,
        language_embeddings,
        load_language_student,
        output_layer,
        packs,
        set_language_embeddings,
    )
    from tutelage.students.language_configuration import RecurrentLanguageConfig
    from tutelage.students.language_rnn import RecurrentForCausalLM, build_language_rnn
    from tutelage.students.language_sizes import language_parameters
    from tutelage.students.language_transformer import build_language_transformer
    from tutelage.students.lora import add_lora, merge_lora
    from tutelage.students.predict import Predictor
    from tutelage.students.pretrained import load_pretrained
    from tutelage.students.pruning import prune
    from tutelage.students.pruning_plan import plan_pruning
    from tutelage.students.rnn import RecurrentForSequenceClassification, build_rnn
    from tutelage.students.saving import save, save_model
    from tutelage.students.specs import RNN, Pretrained, Transformer
    from tutelage.students.spelling import VocabularyMap
    from tutelage.students.tokenizer import train_tokenizer
    from tutelage.students.transformer import build_transformer
    from tutelage.students.trimming import trim_tokenizer
    from tutelage.students.vocabulary import needed_ids, trim_vocabulary
    from tutelage.students.vocabulary_view import TeacherView

__all__ = [
    "RNN",
    "OutputLayer",
    "Predictor",
    "Pretrained",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentLanguageConfig",
    "TeacherView",
    "Transformer",
    "VocabularyMap",
    "add_lora",
    "build_language_rnn",
    "build_language_transformer",
    "build_rnn",
    "build_transformer",
    "final_states",
    "language_embeddings",
    "language_parameters",
    "load_language_student",
    "load_pretrained",
    "merge_lora",
    "needed_ids",
    "output_layer",
    "packs",
    "plan_pruning",
    "prune",
    "save",
    "save_model",
    "set_embeddings",
    "set_language_embeddings",
    "teacher_embeddings",
    "train_tokenizer",
    "trim_tokenizer",
    "trim_vocabulary",
]

_NAMES = {
    "OutputLayer": "language",
    "Predictor": "predict",
    "Pretrained": "specs",
    "RNN": "specs",
    "RecurrentConfig": "configuration",
    "RecurrentForCausalLM": "language_rnn",
    "RecurrentForSequenceClassification": "rnn",
    "RecurrentLanguageConfig": "language_configuration",
    "TeacherView": "vocabulary_view",
    "Transformer": "specs",
    "VocabularyMap": "spelling",
    "add_lora": "lora",
    "build_language_rnn": "language_rnn",
    "build_language_transformer": "language_transformer",
    "build_rnn": "rnn",
    "build_transformer": "transformer",
    "final_states": "language",
    "language_embeddings": "language",
    "language_parameters": "language_sizes",
    "load_language_student": "language",
    "load_pretrained": "pretrained",
    "merge_lora": "lora",
    "needed_ids": "vocabulary",
    "output_layer": "language",
    "packs": "language",
    "plan_pruning": "pruning_plan",
    "prune": "pruning",
    "save": "saving",
    "save_model": "saving",
    "set_embeddings": "embeddings",
    "set_language_embeddings": "language",
    "teacher_embeddings": "embeddings",
    "train_tokenizer": "tokenizer",
    "trim_tokenizer": "trimming",
    "trim_vocabulary": "vocabulary",
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
