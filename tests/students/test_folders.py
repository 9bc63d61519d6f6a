"""Building, saving, loading and asking students, by us and by transformers alone."""

import json

import numpy as np
import pytest
import torch
from tests.students.python_process import python

from tutelage.errors import ModelError
from tutelage.students import RNN, Predictor, Transformer, build_transformer, save, train_tokenizer

SMALL_RNN = {"hidden_size": 8, "embedding_size": 8, "vocabulary_size": 400}
SMALL_TRANSFORMER = {"layers": 2, "hidden_size": 32, "vocabulary_size": 400, "max_length": 16}


def specs(labels):
    return {
        "gru": RNN(labels=labels, **SMALL_RNN),
        "lstm": RNN(labels=labels, cell="lstm", pooling="last", tokenizer="word", **SMALL_RNN),
        "transformer": Transformer(labels=labels, **SMALL_TRANSFORMER),
        "bpe": Transformer(labels=labels, tokenizer="bpe", **SMALL_TRANSFORMER),
    }


@pytest.fixture(scope="module")
def folders(texts, labels, tmp_path_factory):
    made = {}
    for name, spec in specs(labels).items():
        made[name] = save(*spec.build(texts), tmp_path_factory.mktemp(name))
    return made


NAMES = ["gru", "lstm", "transformer", "bpe"]


@pytest.mark.parametrize("name", NAMES)
def test_one_text_answers_as_in_a_batch(name, folders, texts, labels):
    predictor = Predictor.load(folders[name])
    assert predictor.labels == labels
    rows = [*texts, "", "unseen wörds 漢字 " * 20]
    together = predictor.probs(rows, batch_size=7)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(
        together, np.concatenate([predictor.probs([row]) for row in rows]), atol=1e-5
    )
    assert len(np.unique(together.round(6), axis=0)) > len(set(texts)) // 2
    assert predictor.probs([]).shape == (0, 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_short_way_to_token_ids_is_the_long_one(name, folders, texts):
    predictor = Predictor.load(folders[name])
    expected = predictor._tokenizer(texts, truncation=True)["input_ids"]
    assert predictor._encode(texts) == expected
    assert [predictor._encode([text])[0] for text in texts] == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_short_way_answers_as_the_model_does(name, folders, texts):
    predictor = Predictor.load(folders[name])
    for text in [
        *texts[:20],
        "",
        "unseen wörds 漢字 ",
        *("good plot, " * repeats for repeats in (5, 60, 200)),
    ]:
        ids = torch.tensor(
            [predictor._tokenizer(text, truncation=True)["input_ids"]], dtype=torch.long
        )
        with torch.inference_mode():
            expected = predictor.model(input_ids=ids).logits.softmax(-1).numpy()
        np.testing.assert_allclose(predictor.probs([text]), expected, atol=1e-5)
        np.testing.assert_allclose(predictor.probs([text, text])[:1], expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_students_of_our_shapes_take_the_short_way(name, folders, monkeypatch):
    predictor = Predictor.load(folders[name])
    monkeypatch.setattr(type(predictor.model), "forward", None)
    assert predictor.probs(["good film"]).shape == (1, 3)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_takes_the_long_way(name, folders):
    predictor = Predictor.load(folders[name])
    exact = predictor.probs(["good film"])
    short = Predictor(predictor.model.to(torch.bfloat16), predictor._tokenizer)
    assert short._recurrent is None
    assert short._logits.__name__ == "<lambda>"
    np.testing.assert_allclose(short.probs(["good film"]), exact, atol=0.05)


def test_threads_are_as_before_after_an_answer(folders):
    predictor = Predictor.load(folders["transformer"])
    torch.set_num_threads(2)
    try:
        predictor.probs(["good film"])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_builds_the_same_student(name, texts, labels):
    spec = specs(labels)[name]
    before = torch.get_rng_state()
    first, second, other = (spec.build(texts, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


PIPELINE = """
from transformers import pipeline
answer = pipeline("text-classification", {folder!r}, top_k=None)
print(sorted(row["label"] for row in answer(["Good film", "bad, very bad plot"], batch_size=2)[1]))
"""


def test_a_transformer_student_needs_nothing_of_ours(folders, labels):
    code = (
        PIPELINE.format(folder=str(folders["transformer"]))
        + "import sys; assert 'tutelage' not in sys.modules"
    )
    assert python(code) == str(labels)


ORDERS = {
    "tutelage first": "import tutelage; tutelage.register(); import transformers",
    "transformers first": "import transformers, tutelage; tutelage.register()",
    "auto classes first": "from transformers import AutoConfig, AutoModelForSequenceClassification"
    "\nimport tutelage; tutelage.register()",
    "twice": "import tutelage; tutelage.register(); tutelage.register()",
    "after a student": "import tutelage.students.classifier.rnn, tutelage; tutelage.register()",
}


@pytest.mark.parametrize("order", ORDERS)
def test_transformers_knows_the_recurrent_student_once_it_is_told(order, folders):
    code = f"""{ORDERS[order]}
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
folder = {str(folders["gru"])!r}
print(AutoConfig.from_pretrained(folder).model_type)
print(type(AutoModelForSequenceClassification.from_pretrained(folder)).__name__)
print(AutoTokenizer.from_pretrained(folder).pad_token_id)
"""
    assert python(code).split() == ["tutelage_rnn", "RecurrentForSequenceClassification", "0"]


@pytest.mark.parametrize(
    "load",
    [
        "from tutelage.students import Predictor; print(Predictor.load(folder).labels)",
        "from tutelage.students import load_pretrained\n"
        "print(load_pretrained(folder, labels=labels)[0].config.id2label[2])",
        "from tutelage.models import load_language_model\n"
        "print(load_language_model(folder, head='sequence').model.config.id2label[2])",
        "from tutelage.models import load_tokenizer; print('positive', load_tokenizer(folder))",
    ],
)
def test_our_own_loaders_need_not_be_told(load, folders, labels):
    code = f"folder, labels = {str(folders['gru'])!r}, {labels!r}\n{load}"
    assert "positive" in python(code)


def test_a_pipeline_reads_a_recurrent_student(folders, labels):
    told = "import tutelage; tutelage.register()"
    assert python(told + PIPELINE.format(folder=str(folders["gru"]))) == str(labels)


def test_saving_again_replaces_the_model_and_nothing_else(texts, labels, tmp_path):
    spec = specs(labels)["gru"]
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / ".saving-1").mkdir()
    save(*spec.build(texts, seed=0), tmp_path)
    first = Predictor.load(tmp_path).probs(texts[:3])
    save(*spec.build(texts, seed=1), tmp_path)
    assert not np.allclose(first, Predictor.load(tmp_path).probs(texts[:3]))
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"
    expected = {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == dict(
        zip("012", labels, strict=True)
    )


def test_a_failed_save_leaves_the_old_model(texts, labels, tmp_path):
    spec = specs(labels)["gru"]
    model, tokenizer = spec.build(texts)
    save(model, tokenizer, tmp_path)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())

    class Broken:
        def save_pretrained(self, folder):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save(spec.build(texts, seed=1)[0], Broken(), tmp_path)
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_an_unfinished_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json: give the folder of a trained student"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("kind", [RNN, Transformer])
@pytest.mark.parametrize("embeddings", ["teacher", "teacher_contextual"])
@pytest.mark.parametrize("tokenizer", ["wordpiece", "teacher"])
def test_students_start_from_their_teacher(kind, embeddings, tokenizer, texts, labels, teacher):
    small = SMALL_RNN if kind is RNN else SMALL_TRANSFORMER
    spec = kind(labels=labels, embeddings=embeddings, tokenizer=tokenizer, **small)
    assert spec.needs_weights
    model, vocabulary = spec.build(texts, language_model=teacher)
    fresh = kind(labels=labels, tokenizer=tokenizer, **small).build(texts, language_model=teacher)[
        0
    ]
    weight = model.get_input_embeddings().weight
    assert weight.shape == (len(vocabulary), model.config.embedding_size if kind is RNN else 32)
    assert not torch.allclose(weight, fresh.get_input_embeddings().weight)
    assert weight.requires_grad
    with pytest.raises(ModelError, match="no language model was given"):
        spec.build(texts)


def test_labels_must_be_distinct(texts):
    tokenizer = train_tokenizer(texts, boundaries=True)
    with pytest.raises(ValueError, match="at least two, all different"):
        build_transformer(Transformer(labels=["a", "a"], hidden_size=32), tokenizer)
    with pytest.raises(ValueError, match="hidden_size 32 cannot be divided among 5 heads"):
        Transformer(labels=["a", "b"], hidden_size=32, heads=5)
    with pytest.raises(ValueError, match="give an even width per head"):
        build_transformer(Transformer(labels=["a", "b"], hidden_size=33, heads=3), tokenizer)


def test_dropout_reaches_the_transformer(texts, labels):
    model, tokenizer = Transformer(labels=labels, dropout=0.5, **SMALL_TRANSFORMER).build(texts)
    ids = torch.tensor([tokenizer("good film")["input_ids"]])
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    model.eval()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
