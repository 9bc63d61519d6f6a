import re

import pytest
from huggingface_hub import ModelCard

from tutelage.export.card import card
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.exporting import recipe_of_student

QUESTION = {
    "labels": ["fine", "so|so\n# x"],
    "descriptions": {"fine": "Good *enough*."},
    "instructions": "Say how it is.",
}
LEAST = {"name": "lstm", "question": {"labels": ["a", "b"]}}


def share(value):
    return {"value": value, "low": value - 0.02, "high": value + 0.03}


MOST = {
    "name": "lstm",
    "format_name": "onnx_int8",
    "inputs": "tokens",
    "question": QUESTION,
    "temperature": 1.25,
    "max_length": 128,
    "version": "0123456789abcdef",
    "facts": {
        "teacher": {"kind": "api", "model": "big-1", "description": "an API"},
        "terms": "unknown",
        "numbers": {
            "accuracy": share(0.8123),
            "agreement": share(0.9),
            "latency_ms_p50": share(1.0),
        },
        "parity": {"agreement": 0.9987, "difference": 0.0123, "rows": 739, "against": "test rows"},
        "bytes": 1_234_567,
        "tutelage": "0.1.0",
        "created": "2026-01-01",
    },
    "run": {
        "name": "reviews",
        "data": {"test": {"file": "test.csv", "rows": 739, "labelled": 700}},
        "recipe": {"lstm": 'students:\n  lstm: "```"\n'},
        "teacher": {"accuracy": share(0.85)},
        "controls": {"lstm": {"accuracy": share(0.7)}},
        "rows": 739,
        "level": 0.95,
    },
}


def test_the_hub_reads_its_head():
    data = ModelCard(card(MOST)).data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "onnx",
        "text-classification",
        "unknown",
    )
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.8123)
    assert (result.dataset_name, result.dataset_split) == ("test.csv", "test")
    assert data.model_name == "reviews-lstm"


def test_it_tells_what_is_known():
    text = card(MOST)
    assert "# reviews-lstm" in text
    row = (
        "| Accuracy | 81.2 % [79.2 %, 84.2 %] | 85.0 % [83.0 %, 88.0 %] | 70.0 % [68.0 %, 73.0 %] |"
    )
    assert row in text
    assert "| Agreement with the teacher | 90.0 % [88.0 %, 93.0 %] | – | – |" in text
    assert "95 % bootstrap intervals" in text
    assert "99.87 % of them, and no probability differs by more than\n0.012." in text
    assert "temperature of 1.25" in text
    assert "big-1 (kind `api`), an API." in text
    assert "is not known, as the recipe says. Read them" in text
    assert "| test | test.csv | 739 | 700 |" in text
    assert "the first 128 tokens" in text
    assert "on record." not in text.replace(
        "licences of the teacher’s weights and of the training texts are not on record", ""
    )


def test_what_is_not_known_is_said_not_to_be():
    text = card(LEAST)
    assert ModelCard(text).data.eval_results is None
    for sentence in (
        "Which teacher it learned from is not known.",
        "Terms of the teacher are not on record.",
        "What it was trained on is not on record.",
        "It has not been evaluated.",
        "## Recipe\n\nNot on record.",
    ):
        assert sentence in text
    assert not re.search("None|Undefined|temperature of", text)
    assert text.endswith("\n")


def test_words_of_users_stay_words():
    text = card(MOST)
    assert "| so\\|so \\# x | – |" in text
    assert "Good \\*enough\\*." in text
    assert '````yaml\nstudents:\n  lstm: "```"\n````\n' in text


@pytest.mark.parametrize("inputs", ["tokens", "rows", "ngrams"])
def test_it_tells_how_the_graph_is_asked(inputs):
    text = card({**MOST, "inputs": inputs})
    assert f"`{'input_ids' if inputs == 'tokens' else 'rows'}`" in text
    assert "softmax(logits / 1.25)" in text
    assert ("128 words" in text) == (inputs == "ngrams")


def test_a_package_tells_how_it_is_imported():
    text = card({**MOST, "package": "reviews_lstm"})
    assert 'reviews_lstm.classify_one("Some text.")' in text
    assert '`reviews-lstm "Some text."`' in text
    assert "FOLDER" not in text


def test_the_recipe_of_a_student_names_no_places(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "task: {kind: classification, labels: [a, b]}\n"
        f"data: {{train: {tmp_path}/secret/train.csv, test: 0.2}}\n"
        f"teacher: {{kind: classifier, model: {tmp_path}/secret/model}}\n"
        "students: {one: {kind: linear}, two: {kind: rnn}}\n"
    )
    text = recipe_of_student(load_recipe(path), "one")
    assert "  model: model\n" in text
    assert "one:" in text
    assert "two:" not in text
    assert str(tmp_path) not in text
    assert "secret" not in text
