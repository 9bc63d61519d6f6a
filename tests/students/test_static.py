"""The static student: what it pools, that it answers without torch as its network does, and that
its folder holds it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.students.linear_rows import LABELS, soft_targets, texts_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tutelage
from tutelage.data.examples.collate import EncodedSet
from tutelage.errors import ModelError
from tutelage.losses import Objective
from tutelage.losses.table import TABLE
from tutelage.students import Static, load_classifier, save
from tutelage.students.classifier.answering import Explained
from tutelage.students.configurations import StaticConfig
from tutelage.students.vocabulary.embeddings import teacher_embeddings
from tutelage.train import TrainSettings, train_classifier

ASKED = ["it was GREAT !", "the awful phone", "", "unheard [MASK] of", "was " * 40]


def fresh(**options: Any) -> tuple[Any, Any]:
    """A student of made-up reviews with weights that all matter."""
    settings: Any = {"size": 8, "hidden": 6, "max_length": 20, "embeddings": "random", **options}
    model, tokenizer = Static(labels=LABELS, **settings).build(texts_of(60, seed=0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.3)
    return model, tokenizer


@pytest.fixture(scope="module", params=[6, 0], ids=["hidden", "sum"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one with a hidden layer, and of one without."""
    folder = tmp_path_factory.mktemp("static")
    return save(*fresh(hidden=request.param, tokenizer="word"), folder)


def answers_of_torch(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray:
    batch = tokenizer(
        texts, padding=True, truncation=True, split_special_tokens=True, return_tensors="pt"
    )
    with torch.inference_mode():
        return model.eval()(batch["input_ids"], batch["attention_mask"]).logits.numpy()


@pytest.mark.parametrize("hidden", [6, 0])
@pytest.mark.parametrize("tokenizer", ["wordpiece", "word", "bpe"])
def test_it_answers_as_its_network_does(tokenizer: str, hidden: int, tmp_path: Path) -> None:
    model, reads = fresh(tokenizer=tokenizer, hidden=hidden)
    student = load_classifier(save(model, reads, tmp_path))
    assert student.labels == list(LABELS)
    assert student.parameters == sum(weight.numel() for weight in model.parameters())
    expected = answers_of_torch(model, reads, ASKED)
    np.testing.assert_allclose(student.logits(ASKED), expected, atol=1e-5)  # pyright: ignore
    odds = np.exp(expected.astype(np.float64))
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(student.probs(ASKED), expected, atol=1e-5)
    alone = np.concatenate([student.probs([text]) for text in ASKED])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    assert student.probs([]).shape == (0, 3)


def test_transformers_loads_it_once_it_is_told(saved: Path) -> None:
    tutelage.register()
    model = AutoModelForSequenceClassification.from_pretrained(saved)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    expected = load_classifier(saved).logits(ASKED)  # pyright: ignore
    np.testing.assert_allclose(answers_of_torch(model, tokenizer, ASKED), expected, atol=1e-5)


def test_its_mean_is_weighted_and_knows_no_padding_and_no_order_but_that_of_pairs() -> None:
    model, _ = fresh(hidden=0)
    model.eval()
    tokens = model.config.vocabulary_size
    first, second = divmod(int(model.pairs[3]), tokens)
    ids = [second, second, first]
    known = {divmod(int(key), tokens): row for row, key in enumerate(model.pairs, tokens)}
    rows = [*ids, *(known[pair] for pair in pairwise(ids) if pair in known)]
    with torch.inference_mode():
        weights, vectors = model.log_weights[rows].exp(), model.embedding(torch.tensor(rows))
        expected = model.classifier((weights[:, None] * vectors).sum(0) / weights.sum())[None]
        alone = model(torch.tensor([ids]))
        padded, mask = torch.tensor([[*ids, second, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
        turned = model(torch.tensor([[second, first, second]])).logits
        assert not torch.allclose(turned, expected, atol=1e-3)
        for found in (alone, model(padded, mask)):
            torch.testing.assert_close(found.logits, expected, atol=1e-6, rtol=0)
        labels = torch.tensor([2])
        loss, logits = model(torch.tensor([ids]), labels=labels, return_dict=False)
        assert loss == torch.nn.functional.cross_entropy(logits, labels)


def test_first_weights_are_smooth_inverse_frequencies() -> None:
    texts = ["the cat sat"] * 5 + ["a dog"] * 3
    student = Static(labels=LABELS, tokenizer="word", size=4, embeddings="random")
    model, tokenizer = student.build(texts)
    the, cat, sat, dog, mask = tokenizer.convert_tokens_to_ids(
        ["the", "cat", "sat", "dog", "[MASK]"]
    )
    tokens = len(tokenizer)
    found = {divmod(int(key), tokens) for key in model.pairs}
    assert found == {(the, cat), (cat, sat)}  # "a dog" stands there thrice only
    assert model.pairs.tolist() == sorted(model.pairs.tolist())
    expected = torch.tensor([0.01 / (0.01 + count / 21) for count in (5, 3, 1, 5, 5)])
    rows = [the, dog, mask, tokens, tokens + 1]
    torch.testing.assert_close(model.log_weights[rows].exp(), expected)
    assert not model.embedding.weight[tokens:].any()
    one, _ = Static(
        labels=LABELS, tokenizer="word", size=4, embeddings="random", bigrams=1
    ).build(texts)  # fmt: skip
    assert one.pairs.tolist() == [min(the * tokens + cat, cat * tokens + sat)]
    none, _ = Static(labels=LABELS, size=4, embeddings="random", bigrams=0).build(texts)
    assert len(none.pairs) == 0
    assert none(torch.tensor([[3, 4]])).logits.shape == (1, 3)


def test_pairs_begin_at_the_mean_of_what_the_teacher_makes_of_both(texts, teacher) -> None:
    _, tokenizer = Static(labels=LABELS, tokenizer="word", embeddings="random").build(texts)
    good, film = tokenizer.convert_tokens_to_ids(["good", "film"])
    matrix = teacher_embeddings(
        tokenizer, teacher, width=32, power=0, pairs={(good, film): 5, (film, good): 4}
    )
    assert len(matrix) == len(tokenizer) + 2
    source = teacher.model.get_input_embeddings().weight.detach()

    def of(text: str) -> torch.Tensor:
        return source[teacher.tokenizer(text)["input_ids"]].mean(0)

    raw = torch.stack([of(" good"), of(" film"), of(" good film")])
    made = matrix[[good, film, len(tokenizer)]]
    ratio = torch.pdist(made) / torch.pdist(raw)
    torch.testing.assert_close(ratio, ratio.mean().expand(3), rtol=1e-3, atol=0)
    assert teacher_embeddings(tokenizer, teacher, width=8).shape == (len(tokenizer), 8)


def test_it_starts_from_what_its_teacher_makes_of_words(texts, labels, teacher) -> None:
    student = Static(labels=labels, tokenizer="word", size=8)
    assert student.needs_weights
    assert student.reads_layer(4) == 3
    one, tokenizer = student.build(texts, language_model=teacher, seed=0)
    other, _ = student.build(texts, language_model=teacher, seed=1)
    known = [tokenizer.convert_tokens_to_ids(word) for word in ("good", "film", "awful")]
    assert one.embedding.weight[known].equal(other.embedding.weight[known])
    assert len(one.pairs) > 3
    assert one.embedding.weight[-3:].equal(other.embedding.weight[-3:])
    assert one.embedding.weight[-3:].any(dim=1).all()
    assert not one.classifier.weight.equal(other.classifier.weight)
    with pytest.raises(ModelError, match="no language model was given"):
        student.build(texts)
    wide = Static(labels=labels, size=64)
    facts = type("Facts", (), {"embedding_width": 32, "layers": 4})
    found = list(wide.problems(facts, lambda: None))  # type: ignore[arg-type]
    assert [option for option, _ in found] == ["size"]


def encoded(tokenizer: Any, texts: list[str]) -> EncodedSet:
    probs = soft_targets(texts)
    return EncodedSet(tokenizer(texts)["input_ids"], probs.argmax(axis=1), probs)


@pytest.mark.parametrize("divergence", TABLE)
def test_training_brings_it_to_its_teacher(divergence: str, tmp_path: Path) -> None:
    rows, held_out = texts_of(150, seed=0), texts_of(60, seed=1)
    objective = Objective(divergence=divergence, soft_weight=0.9, loss_temperature=2.0)  # type: ignore[arg-type]
    settings = TrainSettings(epochs=6, batch_size=16, learning_rate=2e-2)
    found = []
    for place in ("one", "again"):
        model, tokenizer = Static(labels=LABELS, size=8, hidden=8, embeddings="random").build(rows)
        before = apart(model, tokenizer, held_out)
        sets = encoded(tokenizer, rows), encoded(tokenizer, held_out)
        train_classifier(
            model, 0, *sets, objective=objective, settings=settings, out=tmp_path / place
        )
        assert apart(model, tokenizer, held_out) < before / 2
        found.append(model.state_dict())
    assert all(weight.equal(found[1][name]) for name, weight in found[0].items())


def apart(model: Any, tokenizer: Any, texts: list[str]) -> float:
    """Mean KL from the teacher."""
    soft = torch.from_numpy(soft_targets(texts))
    said = torch.from_numpy(answers_of_torch(model, tokenizer, texts)).log_softmax(-1)
    return float((soft * (soft.log() - said)).sum(-1).mean())


def test_parts_of_a_text_are_answered_as_a_text_of_them_is(saved: Path) -> None:
    student: Any = load_classifier(saved)
    text = "it was GREAT phone"
    assert student.token_spans(text) == [(0, 2), (3, 6), (7, 12), (13, 18)]
    present = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)
    expected = student.logits([text, "it was phone", "great", ""])
    np.testing.assert_allclose(student.logits_of_parts(text, present), expected, atol=1e-5)
    assert student.token_spans("") == []
    np.testing.assert_allclose(
        student.logits_of_parts("", np.ones((2, 0), bool)), student.logits(["", ""]), atol=1e-6
    )


def test_only_without_a_hidden_layer_its_answers_are_sums(saved: Path, tmp_path: Path) -> None:
    student: Any = load_classifier(saved)
    if "norm.weight" in (saved / "model.safetensors").read_bytes().decode("latin-1"):
        assert not isinstance(student, Explained)
        return
    assert isinstance(load_classifier(saved), Explained)
    for text in ASKED:
        parts = student.contributions(text)
        total = student.bias + sum((part.logits for part in parts), np.zeros(3, np.float32))
        np.testing.assert_allclose(total, student.logits([text])[0], atol=1e-5)
        by_word = student.by_word(text)
        np.testing.assert_allclose(by_word.residual, 0, atol=1e-5)
        np.testing.assert_allclose(by_word.logits, total, atol=1e-5)
    spread = [float(np.ptp(part.logits)) for part in student.contributions(ASKED[0])]
    assert spread == sorted(spread, reverse=True)
    pieces: Any = load_classifier(save(*fresh(hidden=0), tmp_path))
    found = {(part.ngram, part.inside_word) for part in pieces.contributions("GREAT phones")}
    assert found == {("GREAT", False), ("GREAT phone", False), ("phone", True), ("s", True)}
    assert ("was GREAT", False) in {
        (part.ngram, part.inside_word) for part in student.contributions(ASKED[0])
    }


def test_it_is_read_and_answers_without_torch(saved: Path) -> None:
    code = (
        "import sys\n"
        "from tutelage.students import load_classifier\n"
        f"print(len(load_classifier({str(saved)!r}).probs(['it was great'])[0]))\n"
        "print(sorted({'torch', 'transformers', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n[]\n"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda config: config | {"size": 9}, "weights of shapes"),
        ("config.json", lambda config: config | {"id2label": {"0": "a"}}, "weights of shapes"),
        ("config.json", lambda config: config | {"id2label": ["a"]}, "cannot be read as a static"),
        ("config.json", lambda config: {"model_type": "tutelage_static"}, "cannot be read as a"),
        ("tokenizer.json", lambda _: {"version": "1.0"}, "cannot be read as a static student"),
        ("tokenizer_config.json", lambda _: {}, "cannot be read as a static student"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("model.safetensors", lambda _: "short", "cannot be read as a static student"),
        ("model.safetensors", None, "has no model.safetensors"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str, change: Any, message: str) -> None:
    path = save(*fresh(), tmp_path) / name
    if change is None:
        path.unlink()
    else:
        found = json.loads(path.read_text()) if path.suffix == ".json" else None
        path.write_text(json.dumps(change(found)))
    with pytest.raises(ModelError, match=message) as refused:
        load_classifier(tmp_path)
    assert "\n" not in str(refused.value)


def test_weights_that_are_no_numbers_or_too_few_are_refused(tmp_path: Path) -> None:
    model, tokenizer = fresh()
    save(model, tokenizer, tmp_path)
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"a tokenizer of \d+ tokens but vectors for \d+"):
        load_classifier(tmp_path)
    with torch.no_grad():
        model.log_weights[3] = torch.nan
    save(model, tokenizer, tmp_path)
    with pytest.raises(ModelError, match="expected finite ones"):
        load_classifier(tmp_path)


def test_its_configuration_has_the_defaults_of_the_spec() -> None:
    student, config = Static(labels=LABELS), StaticConfig()
    for name in ("size", "hidden", "dropout", "vocabulary_size"):
        assert getattr(config, name) == getattr(student, name)
    for wrong in ({"hidden": -1}, {"size": 0}, {"vocabulary_size": 0}):
        with pytest.raises(ValueError, match=r"is (-1|0)"):
            StaticConfig(**wrong)
