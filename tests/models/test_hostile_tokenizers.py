"""Tokenizers that cannot read every text, and chat templates that do not render or never end."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tutelage.errors import ModelError
from tutelage.models import read_tokenizer

LOOP = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"


@pytest.fixture
def folder(language_model, tmp_path) -> Path:
    path = tmp_path / "model"
    language_model.model.save_pretrained(path)
    language_model.tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in %}", "line 1: "),
        ("{{ messages | no_such_filter }}", "no_such_filter"),
        (LOOP, "did not end within 3 seconds"),
        ("{{ 'x' * 10**12 }}", "asked for more than 512 MB"),
        ("{{ 9**(9**9) }}", "did not end|more than 512 MB"),
        ("{{ ''.__class__.__mro__ }}", "__class__"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_refused(folder, template, said):
    (folder / "chat_template.jinja").write_text(template)
    started = time.process_time()
    with pytest.raises(ModelError, match=f"chat template cannot be rendered .*({said})"):
        read_tokenizer(str(folder))
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('only with tools') }}", "{{ messages[7].content }}"]
)
def test_a_template_that_wants_other_conversations_is_left_alone(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    assert read_tokenizer(str(folder)).chat_template == template


@pytest.mark.parametrize("length", [0, -5, "many", True])
def test_a_length_that_is_none_is_refused(folder, length):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": length}))
    with pytest.raises(ModelError, match="model_max_length"):
        read_tokenizer(str(folder))


def test_a_tokenizer_that_knows_some_words_only_is_refused(folder):
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"},
            }
        )
    )
    with pytest.raises(ModelError, match=r"tokenizer cannot read every text .*UNK"):
        read_tokenizer(str(folder))
