"""Building, saving, loading and asking students, by us and by transformers alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, WhisperConfig

from tutelage.errors import ModelError
from tutelage.students import (
    RNN,
    Predictor,
    Pretrained,
    Transformer,
    build_transformer,
    load_pretrained,
    save,
    train_tokenizer,
)
from tutelage.students.pretrained import read_pretrained

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
    np.testing.assert_allclose(together, np.concatenate([predictor.probs([row]) for row in rows]), atol=1e-5)
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
    for text in [*texts[:20], "", "unseen wörds 漢字 ", *("good plot, " * repeats for repeats in (5, 60, 200))]:
        ids = torch.tensor([predictor._tokenizer(text, truncation=True)["input_ids"]], dtype=torch.long)
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


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert "not supported" not in done.stderr
    return done.stdout.strip()


def test_a_transformer_student_needs_nothing_of_ours(folders, labels):
    code = PIPELINE.format(folder=str(folders["transformer"])) + "import sys; assert 'tutelage' not in sys.modules"
    assert python(code) == str(labels)


ORDERS = {
    "tutelage first": "import tutelage, transformers",
    "transformers first": "import transformers, tutelage",
    "auto classes first": "from transformers import AutoConfig, AutoModelForSequenceClassification; import tutelage",
    "modeling first": "import tutelage; import transformers.modeling_utils",
    "trainer after": "import tutelage; from transformers import Trainer",
    "the student itself": "import tutelage.students.rnn",
    "its configuration": "from tutelage.students import RecurrentConfig",
}


@pytest.mark.parametrize("order", ORDERS)
def test_transformers_knows_the_recurrent_student_in_every_import_order(order, folders):
    code = f"""{ORDERS[order]}
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
folder = {str(folders["gru"])!r}
print(AutoConfig.from_pretrained(folder).model_type)
print(type(AutoModelForSequenceClassification.from_pretrained(folder)).__name__)
print(AutoTokenizer.from_pretrained(folder).pad_token_id)
"""
    assert python(code).split() == ["tutelage_rnn", "RecurrentForSequenceClassification", "0"]


def test_a_pipeline_reads_a_recurrent_student(folders, labels):
    assert python("import tutelage" + PIPELINE.format(folder=str(folders["gru"]))) == str(labels)


def test_saving_again_replaces_the_model_and_nothing_else(texts, labels, tmp_path):
    spec = specs(labels)["gru"]
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / ".saving-1").mkdir()
    save(*spec.build(texts, seed=0), tmp_path)
    first = Predictor.load(tmp_path).probs(texts[:3])
    save(*spec.build(texts, seed=1), tmp_path)
    assert not np.allclose(first, Predictor.load(tmp_path).probs(texts[:3]))
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"
    expected = {"config.json", "metrics.jsonl", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == dict(zip("012", labels, strict=True))


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


def test_classes_without_names_are_not_saved(tmp_path):
    model = BertForSequenceClassification(bert_config())
    with pytest.raises(ModelError, match=r"LABEL_0.*build it with the task's labels"):
        save(model, None, tmp_path)


def test_an_unfinished_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json: give the folder of a trained student"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("kind", [RNN, Transformer])
@pytest.mark.parametrize("embeddings", ["teacher", "teacher_contextual"])
@pytest.mark.parametrize("tokenizer", ["wordpiece", "teacher"])
def test_students_start_from_their_teacher(kind, embeddings, tokenizer, texts, labels, teacher):
    small = SMALL_RNN if kind is RNN else SMALL_TRANSFORMER
    spec = kind(labels=labels, embeddings=embeddings, tokenizer=tokenizer, **small)
    assert spec.needs_language_model
    model, vocabulary = spec.build(texts, language_model=teacher)
    fresh = kind(labels=labels, tokenizer=tokenizer, **small).build(texts, language_model=teacher)[0]
    weight = model.get_input_embeddings().weight
    assert weight.shape == (len(vocabulary), model.config.embedding_size if kind is RNN else 32)
    assert not torch.allclose(weight, fresh.get_input_embeddings().weight)
    assert weight.requires_grad
    with pytest.raises(ModelError, match="no language model was given"):
        spec.build(texts)


def bert_config(**more):
    return BertConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **more
    )


@pytest.fixture
def bert(texts, tmp_path):
    train_tokenizer(texts, vocabulary_size=400, boundaries=True).save_pretrained(tmp_path)
    return tmp_path


def names(labels):
    return {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}


def test_a_pretrained_classifier_is_taken_as_it_is(bert, labels, texts):
    BertForSequenceClassification(bert_config(**names(labels))).save_pretrained(bert)
    model, tokenizer = Pretrained(labels=labels, model=bert, max_length=12).build()
    assert model.training
    assert max(map(len, tokenizer(texts, truncation=True)["input_ids"])) <= 12
    short = ["good film", "bad"]
    np.testing.assert_allclose(Predictor(model, tokenizer).probs(short), Predictor.load(bert).probs(short), atol=1e-6)


def test_placeholder_names_are_replaced(bert, labels):
    BertForSequenceClassification(bert_config(num_labels=3)).save_pretrained(bert)
    assert Predictor(*load_pretrained(bert, labels=labels)).labels == labels


def test_an_encoder_gets_a_classifier(bert, labels, texts):
    BertModel(bert_config()).save_pretrained(bert)
    spec = Pretrained(labels=labels, model=bert)
    first, second, other = (Predictor(*spec.build(seed=seed)).probs(texts[:2]) for seed in (0, 0, 1))
    assert first.shape == (2, 3)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("wrong", [["negative", "positive"], ["positive", "neutral", "negative"]])
def test_other_classes_are_refused(bert, labels, wrong):
    BertForSequenceClassification(bert_config(**names(wrong))).save_pretrained(bert)
    with pytest.raises(ModelError, match=r"classifies into .*, but the task's labels are"):
        load_pretrained(bert, labels=labels)


def test_a_folder_without_model_or_tokenizer_is_refused(tmp_path, labels):
    with pytest.raises(ModelError, match="is not a folder"):
        load_pretrained(tmp_path / "absent", labels=labels)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_pretrained(tmp_path, labels=labels)
    BertModel(bert_config()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no tokenizer .*tokenizer\.save_pretrained"):
        load_pretrained(tmp_path, labels=labels)


def test_a_folder_with_pickled_weights_is_refused(bert, labels):
    BertModel(bert_config()).save_pretrained(bert)
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no weights in safetensors: save them again"):
        load_pretrained(bert, labels=labels)


def test_a_model_of_another_kind_is_refused_by_its_configuration(bert, labels):
    BertModel(bert_config()).save_pretrained(bert)
    WhisperConfig().save_pretrained(bert)
    with pytest.raises(ModelError, match="is of the kind whisper, which transformers has no sequence classifier for"):
        read_pretrained(bert, labels=labels)


def test_a_model_of_the_hub_is_taken_by_its_id(bert, labels, texts, tmp_path):
    BertForSequenceClassification(bert_config(**names(labels))).save_pretrained(bert)
    cached = tmp_path / "home" / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("c0ffee")
    files = [path for path in bert.iterdir() if path.is_file()]
    (cached / "snapshots" / "c0ffee").mkdir(parents=True)
    for path in files:
        path.rename(cached / "snapshots" / "c0ffee" / path.name)
    code = f"""
from tutelage.students import Predictor, Pretrained
from tutelage.students.pretrained import read_pretrained
model, tokenizer = Pretrained(labels={labels!r}, model="owner/name", max_length=12).build()
print(Predictor(model, tokenizer).labels, tokenizer.model_max_length)
try:
    read_pretrained("owner/absent", labels={labels!r})
except ValueError as error:
    print(error)
"""
    answer = python(code, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1").splitlines()
    assert answer[0] == f"{labels} 12"
    assert answer[1].startswith("owner/absent is not a folder here, and the model hub did not give a model")


def test_labels_must_be_distinct(texts):
    tokenizer = train_tokenizer(texts, boundaries=True)
    with pytest.raises(ValueError, match="at least two, all different"):
        build_transformer(tokenizer=tokenizer, labels=["a", "a"], hidden_size=32)
    with pytest.raises(ValueError, match="hidden_size 32 does not divide into 5 heads"):
        build_transformer(tokenizer=tokenizer, labels=["a", "b"], hidden_size=32, heads=5)
    with pytest.raises(ValueError, match="give an even width per head"):
        build_transformer(tokenizer=tokenizer, labels=["a", "b"], hidden_size=33, heads=3)


def test_dropout_reaches_the_transformer(texts, labels):
    model, tokenizer = Transformer(labels=labels, dropout=0.5, **SMALL_TRANSFORMER).build(texts)
    ids = torch.tensor([tokenizer("good film")["input_ids"]])
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    model.eval()
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
