"""Which kinds of student there are: one list for each task, and the networks among them that are
ours.

A further kind is its own file and one line here: recipes read their sections from these lists, and
transformers is told of the networks in them. Importing this file imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.students.classifier.linear.spec import Linear
from tutelage.students.classifier.pretrained import Pretrained
from tutelage.students.classifier.pruned import PrunedClassifier
from tutelage.students.classifier.specs import RNN, Transformer
from tutelage.students.classifier.static.spec import Static
from tutelage.students.language.pretrained import LanguagePretrained
from tutelage.students.language.pruned import Pruned
from tutelage.students.language.specs import LanguageRNN, LanguageTransformer


@dataclass(frozen=True)
class StudentKind:
    """A kind of student."""

    word: str
    """Its `kind` in a recipe."""
    spec: type
    """Its options, and what it knows about itself."""
    section: str
    """The name of its section, which is part of fingerprints and of the JSON schema."""
    network: tuple[str, str] | None = None
    """Where the classes of its configuration and of its model are, `module:name` within this room,
    if transformers does not have them; `model_type` of the first is how a folder names them."""
    reader: tuple[str, str] | None = None
    """Of a kind that answers without torch: the `model_type` in its folders, and the class whose
    `load` reads one, `module:name` within this room."""


CLASSIFIERS = (
    StudentKind("transformer", Transformer, "TransformerSpec"),
    StudentKind(
        "rnn",
        RNN,
        "RecurrentSpec",
        ("configurations:RecurrentConfig", "classifier.rnn:RecurrentForSequenceClassification"),
    ),
    StudentKind("pretrained", Pretrained, "PretrainedSpec"),
    StudentKind(
        "pruned",
        PrunedClassifier,
        "PrunedClassifierSpec",
        ("configurations:PooledConfig", "classifier.pooled:PooledForSequenceClassification"),
    ),
    StudentKind(
        "linear",
        Linear,
        "LinearSpec",
        reader=("tutelage_linear", "classifier.linear.model:LinearClassifier"),
    ),
    StudentKind(
        "static",
        Static,
        "StaticSpec",
        (
            "configurations:StaticConfig",
            "classifier.static.network:StaticForSequenceClassification",
        ),
        ("tutelage_static", "classifier.static.model:StaticClassifier"),
    ),
)  # fmt: skip
"""Students that classify."""

WRITERS = (
    StudentKind("pruned", Pruned, "PrunedSpec"),
    StudentKind("transformer", LanguageTransformer, "LanguageTransformerSpec"),
    StudentKind(
        "rnn",
        LanguageRNN,
        "LanguageRecurrentSpec",
        ("configurations:RecurrentLanguageConfig", "language.rnn:RecurrentForCausalLM"),
    ),
    StudentKind("pretrained", LanguagePretrained, "LanguagePretrainedSpec"),
)
"""Students that write."""
