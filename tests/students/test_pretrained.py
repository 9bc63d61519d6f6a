"""Students taken from models of others: folders, ids of the hub, and what cannot be a student."""

import numpy as np
import pytest
from tests.students.python_process import python
from transformers import BertConfig, BertForSequenceClassification, BertModel, WhisperConfig

from tutelage.errors import ModelError
from tutelage.students import Predictor, Pretrained, load_pretrained, save, train_tokenizer
from tutelage.students.classifier.pretrained import read_pretrained


def test_classes_without_names_are_not_saved(tmp_path):
    model = BertForSequenceClassification(bert_config())
    with pytest.raises(ModelError, match=r"LABEL_0.*build it with the task's labels"):
        save(model, None, tmp_path)


def bert_config(**more):
    return BertConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        **more,
    )


@pytest.fixture
def bert(texts, tmp_path):
    train_tokenizer(texts, vocabulary_size=400, boundaries=True).save_pretrained(tmp_path)
    return tmp_path


def names(labels):
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def test_a_pretrained_classifier_is_taken_as_it_is(bert, labels, texts):
    BertForSequenceClassification(bert_config(**names(labels))).save_pretrained(bert)
    model, tokenizer = Pretrained(labels=labels, model=bert, max_length=12).build()
    assert model.training
    assert max(map(len, tokenizer(texts, truncation=True)["input_ids"])) <= 12
    short = ["good film", "bad"]
    np.testing.assert_allclose(
        Predictor(model, tokenizer).probs(short), Predictor.load(bert).probs(short), atol=1e-6
    )


def test_placeholder_names_are_replaced(bert, labels):
    BertForSequenceClassification(bert_config(num_labels=3)).save_pretrained(bert)
    assert Predictor(*load_pretrained(bert, labels=labels)).labels == labels


def test_an_encoder_gets_a_classifier(bert, labels, texts):
    BertModel(bert_config()).save_pretrained(bert)
    spec = Pretrained(labels=labels, model=bert)
    first, second, other = (
        Predictor(*spec.build(seed=seed)).probs(texts[:2]) for seed in (0, 0, 1)
    )
    assert first.shape == (2, 3)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("wrong", [["negative", "positive"], ["positive", "neutral", "negative"]])
def test_other_classes_are_refused(bert, labels, wrong):
    BertForSequenceClassification(bert_config(**names(wrong))).save_pretrained(bert)
    with pytest.raises(ModelError, match=r"classifies into .*, but the task's labels are"):
        load_pretrained(bert, labels=labels)


def test_a_folder_without_model_or_tokenizer_is_refused(tmp_path, labels):
    with pytest.raises(ModelError, match="absent: no such model folder"):
        load_pretrained(tmp_path / "absent", labels=labels)
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_pretrained(tmp_path, labels=labels)
    BertModel(bert_config()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"holds no tokenizer .*tokenizer\.save_pretrained"):
        load_pretrained(tmp_path, labels=labels)


def test_a_folder_with_pickled_weights_is_refused(bert, labels):
    BertModel(bert_config()).save_pretrained(bert)
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(
        ModelError,
        match=r"holds only pytorch_model\.bin, which may run code.*expected model\.safetensors",
    ):
        load_pretrained(bert, labels=labels)


def test_a_model_of_another_kind_is_refused_by_its_configuration(bert, labels):
    BertModel(bert_config()).save_pretrained(bert)
    WhisperConfig().save_pretrained(bert)
    with pytest.raises(
        ModelError,
        match="is of the kind whisper, which transformers has no sequence classifier for",
    ):
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
from tutelage.students.classifier.pretrained import read_pretrained
model, tokenizer = Pretrained(labels={labels!r}, model="owner/name", max_length=12).build()
print(Predictor(model, tokenizer).labels, tokenizer.model_max_length)
try:
    read_pretrained("owner/absent", labels={labels!r})
except ValueError as error:
    print(error)
"""
    answer = python(code, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1").splitlines()
    assert answer[0] == f"{labels} 12"
    assert answer[1].startswith(
        "owner/absent: not a folder here, and the model hub did not give it"
    )
