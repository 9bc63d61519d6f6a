"""Students: the small models that learn from a teacher, their vocabularies, their first embeddings,
their folders.

In: texts, labels, perhaps a teacher's language model. Out: a fresh model with its tokenizer, and,
once trained, a folder that `transformers` loads. Names are resolved when first used, so that the
configurations of the recurrent students can be imported without torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing takes

if TYPE_CHECKING:
    from typing import Any

    from tutelage.models import OutputLayer, load_language_student, output_layer, packs
    from tutelage.models.final_states import final_states
    from tutelage.students.classifier.answering import load_classifier
    from tutelage.students.classifier.linear.spec import Linear
    from tutelage.students.classifier.pooled import PooledForSequenceClassification
    from tutelage.students.classifier.predict import Predictor
    from tutelage.students.classifier.pretrained import Pretrained, load_pretrained
    from tutelage.students.classifier.pruned import PrunedClassifier
    from tutelage.students.classifier.rnn import RecurrentForSequenceClassification, build_rnn
    from tutelage.students.classifier.specs import RNN, Transformer
    from tutelage.students.classifier.static.spec import Static
    from tutelage.students.classifier.transformer import build_transformer
    from tutelage.students.configurations import (
        PooledConfig,
        RecurrentConfig,
        RecurrentLanguageConfig,
    )
    from tutelage.students.language.lora import add_lora, merge_lora
    from tutelage.students.language.rnn import RecurrentForCausalLM, build_language_rnn
    from tutelage.students.language.student import language_parameters
    from tutelage.students.language.transformer import build_language_transformer
    from tutelage.students.pruning.classifiers import prune_classifier
    from tutelage.students.pruning.plan import plan_pruning
    from tutelage.students.pruning.pruning import prune
    from tutelage.students.saving import save, save_model
    from tutelage.students.vocabulary.cutting import needed_ids, trim_vocabulary
    from tutelage.students.vocabulary.embeddings import (
        language_embeddings,
        set_embeddings,
        set_language_embeddings,
        teacher_embeddings,
    )
    from tutelage.students.vocabulary.training import train_tokenizer
    from tutelage.students.vocabulary.trimming import trim_tokenizer
    from tutelage.students.vocabulary.view import TeacherView, VocabularyMap

__all__ = [
    "RNN",
    "Linear",
    "OutputLayer",
    "PooledConfig",
    "PooledForSequenceClassification",
    "Predictor",
    "Pretrained",
    "PrunedClassifier",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentLanguageConfig",
    "Static",
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
    "load_classifier",
    "load_language_student",
    "load_pretrained",
    "merge_lora",
    "needed_ids",
    "output_layer",
    "packs",
    "plan_pruning",
    "prune",
    "prune_classifier",
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
    "Linear": "students.classifier.linear.spec",
    "OutputLayer": "models",
    "PooledConfig": "students.configurations",
    "PooledForSequenceClassification": "students.classifier.pooled",
    "Predictor": "students.classifier.predict",
    "Pretrained": "students.classifier.pretrained",
    "PrunedClassifier": "students.classifier.pruned",
    "RNN": "students.classifier.specs",
    "RecurrentConfig": "students.configurations",
    "RecurrentForCausalLM": "students.language.rnn",
    "RecurrentForSequenceClassification": "students.classifier.rnn",
    "RecurrentLanguageConfig": "students.configurations",
    "Static": "students.classifier.static.spec",
    "TeacherView": "students.vocabulary.view",
    "Transformer": "students.classifier.specs",
    "VocabularyMap": "students.vocabulary.view",
    "add_lora": "students.language.lora",
    "build_language_rnn": "students.language.rnn",
    "build_language_transformer": "students.language.transformer",
    "build_rnn": "students.classifier.rnn",
    "build_transformer": "students.classifier.transformer",
    "final_states": "models.final_states",
    "language_embeddings": "students.vocabulary.embeddings",
    "language_parameters": "students.language.student",
    "load_classifier": "students.classifier.answering",
    "load_language_student": "models",
    "load_pretrained": "students.classifier.pretrained",
    "merge_lora": "students.language.lora",
    "needed_ids": "students.vocabulary.cutting",
    "output_layer": "models",
    "packs": "models",
    "plan_pruning": "students.pruning.plan",
    "prune": "students.pruning.pruning",
    "prune_classifier": "students.pruning.classifiers",
    "save": "students.saving",
    "save_model": "students.saving",
    "set_embeddings": "students.vocabulary.embeddings",
    "set_language_embeddings": "students.vocabulary.embeddings",
    "teacher_embeddings": "students.vocabulary.embeddings",
    "train_tokenizer": "students.vocabulary.training",
    "trim_tokenizer": "students.vocabulary.trimming",
    "trim_vocabulary": "students.vocabulary.cutting",
}


def __getattr__(name: str) -> Any:
    """A public name of this room, imported when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(
            f"module 'tutelage.students' has no attribute {name!r}; names: {', '.join(__all__)}"
        )
    value = getattr(importlib.import_module(f"tutelage.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, with what the module holds anyway."""
    return sorted({*globals(), *__all__})
