"""What descriptions of students know about themselves without a model: which parts of the teacher
they need, and that asking for them imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tutelage.errors import ModelError
from tutelage.students import (
    RNN,
    Pretrained,
    RecurrentConfig,
    RecurrentLanguageConfig,
    Static,
    Transformer,
)
from tutelage.students.kinds import CLASSIFIERS, WRITERS
from tutelage.students.language.pretrained import LanguagePretrained
from tutelage.students.language.pruned import Pruned
from tutelage.students.language.specs import LanguageRNN, LanguageTransformer


def test_the_kinds_are_known_without_torch() -> None:
    code = (
        "import sys, tutelage.students.kinds\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_each_list_has_every_word_once() -> None:
    for kinds in (CLASSIFIERS, WRITERS):
        assert len({kind.word for kind in kinds}) == len(kinds) > 2
    names = [kind.section for kind in (*CLASSIFIERS, *WRITERS)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("student", "weights", "tokenizer"),
    [
        (RNN(labels=["a", "b"]), False, False),
        (RNN(labels=["a", "b"], tokenizer="teacher"), False, True),
        (RNN(labels=["a", "b"], embeddings="teacher"), True, True),
        (Transformer(labels=["a", "b"], embeddings="teacher_contextual"), True, True),
        (Pretrained(labels=["a", "b"], model="owner/name"), False, False),
        (Static(labels=["a", "b"]), True, True),
        (Static(labels=["a", "b"], embeddings="random"), False, False),
    ],
)
def test_what_a_classifier_needs_of_its_teacher(
    student: Any, weights: bool, tokenizer: bool
) -> None:
    assert (student.needs_weights, student.needs_tokenizer) == (weights, tokenizer)


@pytest.mark.parametrize(
    ("student", "weights"),
    [
        (Pruned(layers=1), True),
        (LanguageTransformer(), False),
        (LanguageTransformer(embeddings="teacher"), True),
        (LanguageRNN(), False),
        (LanguageRNN(embeddings="teacher"), True),
        (LanguagePretrained(model="owner/name"), False),
    ],
)
def test_what_a_writer_needs_of_its_teacher(student: Any, weights: bool, teacher: Any) -> None:
    assert student.needs_weights is weights
    if weights:
        with pytest.raises(ModelError, match="no language model was given"):
            student.build(teacher.tokenizer, sequence_length=16)


def test_the_teachers_tokenizer_alone_makes_the_same_student(texts, labels, teacher) -> None:
    student = RNN(labels=labels, tokenizer="teacher", hidden_size=4, embedding_size=4)
    alone = SimpleNamespace(model=None, tokenizer=teacher.tokenizer)
    (one, _), (other, _) = (student.build(texts, language_model=it) for it in (teacher, alone))
    assert one.embedding.weight.equal(other.embedding.weight)
    with pytest.raises(ModelError, match="no language model was given"):
        RNN(labels=labels, embeddings="teacher").build(texts, language_model=alone)


def test_configurations_have_the_defaults_of_the_specs() -> None:
    student, config = RNN(labels=["a", "b"]), RecurrentConfig()
    for name in ("cell", "hidden_size", "embedding_size", "layers", "pooling", "dropout"):
        assert getattr(config, name) == getattr(student, name)
    writer, wide = LanguageRNN(), RecurrentLanguageConfig()
    assert (wide.dropout, wide.embedding_size) == (writer.dropout, writer.width)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RNN(labels=[], cell="rnn"), "cell is 'rnn': expected one of gru, lstm"),
        (lambda: Transformer(labels=[], heads=5), "cannot be divided among 5 heads"),
        (lambda: LanguageRNN(dropout=1.0), "dropout is 1.0: expected a number"),
        (lambda: Pruned(), "nothing is taken out"),
        (lambda: LanguageTransformer(heads=4, kv_heads=3), "4 heads cannot share 3 kv_heads"),
    ],
)
def test_wrong_options_are_refused_in_python(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
