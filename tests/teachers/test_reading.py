"""What a teacher read is kept: each text is read once, by fit, labels and students together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.teachers.conftest import LABELS

from tutelage.students.vocabulary.token_vectors import token_pieces, token_vectors
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage.students.vocabulary.trimming import trim_tokenizer
from tutelage.teachers import ClassifierTeacher, extract_features, label
from tutelage.teachers.classifier import reading
from tutelage.teachers.classifier.read_model import ReadModel
from tutelage.teachers.classifier.reading import TextReadings
from tutelage.types import SILENT, Example, example_id

OPTIONS: dict[str, Any] = {
    "layers": [1],
    "pooling": ("mean", "last"),
    "batch_tokens": 200,
    "max_length": 512,
}


@pytest.fixture
def read_texts(backbone, monkeypatch):
    """How often the model was run on each text, in tokens of the text."""
    counts: dict[tuple[int, ...], int] = {}
    pad = backbone.tokenizer.pad_token_id

    def note(_module, _args, kwargs):
        for row in kwargs["input_ids"].tolist():
            ids = tuple(row)
            while len(ids) > 1 and ids[-1] == pad:
                ids = ids[:-1]
            counts[ids] = counts.get(ids, 0) + 1

    extract_features(backbone, ["good"], layers=[1])  # finds out that it is causal
    extract_features(backbone, ["good"], layers=[2])
    backbone.model.register_forward_pre_hook(note, with_kwargs=True)
    return counts


def readings_in(folder, texts=(), *, layers=(1,), **changes):
    return TextReadings(
        folder, contexts=[example_id(text) for text in texts], word_layers=layers, **changes
    )


def test_features_are_those_of_a_plain_pass_and_are_read_once(backbone, examples, tmp_path):
    texts = [example.text for example in examples] * 2
    plain = extract_features(backbone, texts, **OPTIONS)
    readings = readings_in(tmp_path, texts[:3])
    np.testing.assert_allclose(readings.features(backbone, texts, **OPTIONS), plain, atol=1e-5)
    backbone.model.register_forward_pre_hook(lambda *_: pytest.fail("read again"))
    for again in (readings, readings_in(tmp_path)):
        found = again.features(backbone, texts[::-1], **OPTIONS)
        np.testing.assert_allclose(found, plain[::-1], atol=1e-5)


def test_fit_labels_and_students_read_each_text_once(backbone, labelled, tmp_path, read_texts):
    unlabelled = [Example(f"a very good box number {index}") for index in range(20)]
    contexts = [example.text for example in (*labelled, *unlabelled)]
    test = [Example("never seen before"), Example("nor this")]
    readings = readings_in(tmp_path / "readings", contexts)
    teacher = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1], readings=readings)
    store = label(teacher, [*labelled, *unlabelled, *test], out=tmp_path / "targets")
    words = ReadModel(backbone, readings).words(contexts, layer=1)
    assert words is not None
    assert sum(int(part.counts.sum()) for part in words) == sum(
        len(text.split()) for text in contexts
    )
    assert len(store) == 45 + 20 + 2
    assert len(read_texts) == 45 + 20 + 2
    assert set(read_texts.values()) == {1}
    plain = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1])
    rows = [*labelled, *unlabelled, *test]
    np.testing.assert_allclose(
        store.lookup([row.example_id for row in rows]), plain.label(rows), atol=1e-4
    )
    assert teacher.for_new_texts().readings is None


def test_a_killed_reading_goes_on_with_the_rest(
    backbone, labelled, tmp_path, read_texts, monkeypatch
):
    monkeypatch.setattr(reading, "TEXTS_PER_PART", 10)
    texts = [example.text for example in labelled]
    whole = readings_in(tmp_path / "whole", texts)
    expected = whole.features(backbone, texts, **OPTIONS)
    read_texts.clear()

    def die(path, content):
        if sum(read_texts.values()) > 25:
            raise KeyboardInterrupt
        write(path, content)

    write = reading.atomic_write_bytes
    monkeypatch.setattr(reading, "atomic_write_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        readings_in(tmp_path / "killed", texts).features(backbone, texts, **OPTIONS)
    monkeypatch.setattr(reading, "atomic_write_bytes", write)
    kept = len(list((tmp_path / "killed").iterdir())) * 10
    assert kept == 20
    read_texts.clear()
    again = readings_in(tmp_path / "killed", texts)
    np.testing.assert_array_equal(again.features(backbone, texts, **OPTIONS), expected)
    assert sum(read_texts.values()) == 45 - kept
    names = [
        sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("whole", "killed")
    ]
    assert names[0] == names[1]  # the same bytes


def test_a_damaged_part_is_read_again(backbone, labelled, tmp_path, read_texts, monkeypatch):
    monkeypatch.setattr(reading, "TEXTS_PER_PART", 10)
    texts = [example.text for example in labelled]
    expected = readings_in(tmp_path, texts).features(backbone, texts, **OPTIONS)
    first, second, third, *_ = sorted(tmp_path.iterdir())
    content = bytearray(first.read_bytes())
    content[-5] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:100])
    third.with_name(".half.tmp").write_bytes(b"half")
    said = []
    watch: Any = SimpleNamespace(bar=SILENT.bar, say=said.append)
    read_texts.clear()
    again = readings_in(tmp_path, texts)
    found = again.features(backbone, texts, **OPTIONS, progress=watch)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 6 <= sum(read_texts.values()) <= 20
    assert said == ["2 damaged parts of what the teacher read are read again"]
    assert again.words(backbone, texts, layer=1) is not None
    assert not (tmp_path / ".half.tmp").exists()


def test_other_options_and_other_models_are_other_features(
    backbone, make_model, examples, tmp_path
):
    texts = [example.text for example in examples]
    readings = readings_in(tmp_path, texts)
    readings.features(backbone, texts, **OPTIONS)
    other = make_model(type(backbone.model))
    object.__setattr__(other, "fingerprint", "another")
    assert readings.words(other, texts, layer=1) is None
    assert readings.words(backbone, texts, layer=2) is None
    assert readings.words(backbone, [*texts, "unread"], layer=1) is None
    changed: list[dict[str, Any]] = [{"layers": [2]}, {"max_length": 3}]
    for change in changed:
        options: dict[str, Any] = {**OPTIONS, **change}
        np.testing.assert_allclose(
            readings.features(backbone, texts, **options),
            extract_features(backbone, texts, **options),
            atol=1e-4,
        )
    # Read three times, but every word counts once.
    (words,) = list(readings.words(backbone, texts, layer=1) or [])
    assert words.counts.sum() == sum(len(text.split()) for text in texts)


def test_when_there_is_no_room_texts_are_read_and_not_kept(
    backbone, labelled, tmp_path, monkeypatch
):
    monkeypatch.setattr(reading, "TEXTS_PER_PART", 10)
    texts = [example.text for example in labelled]
    readings = readings_in(tmp_path, texts, most_bytes=1)
    np.testing.assert_allclose(
        readings.features(backbone, texts, **OPTIONS),
        extract_features(backbone, texts, **OPTIONS),
        atol=1e-5,
    )
    assert len(list(tmp_path.iterdir())) == 1
    assert readings.words(backbone, texts, layer=1) is None


CONTEXTS = [
    "It's GOOD, isn't it?  good,good -- very good...",
    " the battery died \n\nafter two days (bad product!)",
    "naïve café don’t",
    "",
    "good",
]


@pytest.mark.parametrize("kind", ["wordpiece", "word", "bpe", "teacher"])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("begin", [None, "<|im_start|>"])
def test_vectors_of_a_students_tokens_are_those_of_a_pass_of_their_own(
    backbone, tmp_path, kind, layer, begin
):
    backbone.tokenizer.bos_token = begin
    tokenizer = (
        trim_tokenizer(backbone.tokenizer, CONTEXTS)[0]
        if kind == "teacher"
        else train_tokenizer(CONTEXTS * 3, kind=kind, vocabulary_size=340)
    )
    readings = readings_in(tmp_path, CONTEXTS, layers=[layer])
    readings.features(backbone, CONTEXTS, **OPTIONS)
    pieces = token_pieces(tokenizer, backbone.tokenizer)
    rows = [row for row, ids in enumerate(pieces) if ids]
    options = {"contextual_layer": layer, "texts": CONTEXTS, "progress": SILENT}
    expected, counts = token_vectors(tokenizer, backbone, pieces, rows, **options)
    read = ReadModel(backbone, TextReadings(tmp_path))
    vectors, times = token_vectors(tokenizer, read, pieces, rows, **options)
    torch.testing.assert_close(times, counts)
    assert counts.max() >= 3
    torch.testing.assert_close(vectors, expected, atol=5e-3, rtol=2e-3)


def test_a_word_that_was_cut_is_left_out(backbone, tmp_path):
    text = "good product terrible"
    ids = backbone.tokenizer(text)["input_ids"]
    readings = readings_in(tmp_path, [text])
    readings.features(backbone, [text], **{**OPTIONS, "max_length": len(ids) - 1})
    (words,) = list(readings.words(backbone, [text], layer=1) or [])
    assert list(words.spellings) == ["good", " product"]
