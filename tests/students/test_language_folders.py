"""Recurrent language models in their folders, loaded by transformers alone once it is
told."""

import json

import pytest
from tests.students.python_process import python

from tutelage.students import build_language_rnn
from tutelage.students.language.specs import LanguageRNN


@pytest.fixture(scope="module")
def folder(teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    model = build_language_rnn(
        LanguageRNN(hidden_size=12, embedding_size=8, layers=2), teacher.tokenizer
    )
    model.save_pretrained(folder)
    teacher.tokenizer.save_pretrained(folder)
    return folder


def test_transformers_knows_the_language_model_when_generation_is_imported_first(folder):
    """Its class needs the generation code."""
    code = f"""
import transformers.generation.utils
import tutelage
tutelage.register()
from transformers import AutoConfig, AutoModelForCausalLM
print(AutoConfig.from_pretrained({str(folder)!r}).model_type)
print(type(AutoModelForCausalLM.from_pretrained({str(folder)!r})).__name__)
"""
    assert python(code).split() == ["tutelage_recurrent_lm", "RecurrentForCausalLM"]


def test_a_pipeline_generates_with_it(folder):
    """Prompts of several lengths together, which are padded on the left, and each alone."""
    code = f"""
import tutelage, json
tutelage.register()
from transformers import pipeline
generate = pipeline("text-generation", {str(folder)!r}, max_new_tokens=8, do_sample=False)
generate.tokenizer.pad_token_id = generate.tokenizer.eos_token_id
prompts = ["Good film", "A very boring plot, and acting", "the"]
together = generate(prompts, batch_size=3)
alone = [generate(prompt) for prompt in prompts]
print(json.dumps([[row[0]["generated_text"] for row in rows] for rows in (together, alone)]))
"""
    together, alone = json.loads(python(code))
    assert together == alone
    assert all(
        len(text) > len(prompt)
        for text, prompt in zip(together, ["Good film", "A very", "the"], strict=True)
    )
