"""Weights of language students: loaded from folders, begun from the teacher's embeddings, and
counted."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.students.tiny_causal_models import SIZES
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tutelage.errors import ModelError, ShapeMismatch
from tutelage.models import load_language_student, output_layer
from tutelage.students.language.pretrained import LanguagePretrained
from tutelage.students.language.pruned import Pruned
from tutelage.students.language.specs import LanguageRNN, LanguageTransformer
from tutelage.students.language.student import language_parameters
from tutelage.students.language.transformer import build_language_transformer
from tutelage.students.vocabulary.embeddings import language_embeddings, set_language_embeddings


def test_loading(llama, tmp_path):
    llama.to(torch.bfloat16).save_pretrained(tmp_path / "model")
    llama.to(torch.float32)
    loaded = load_language_student(str(tmp_path / "model"))
    assert not loaded.training
    assert loaded.dtype == torch.float32
    assert load_language_student(tmp_path / "model", dtype=torch.bfloat16).dtype == torch.bfloat16
    with pytest.raises(
        ModelError, match=r"absent: no such model folder\. Give a folder, a \.gguf file, a hub id"
    ):
        load_language_student(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty holds no config\.json, so it is no model folder"):
        load_language_student(tmp_path / "empty")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no weights; expected model\.safetensors"):
        load_language_student(tmp_path / "model")


class Doubled(LlamaForCausalLM):
    """Does something of its own with its logits."""

    def forward(self, *args, **settings):
        output = super().forward(*args, **settings)
        output.logits = output.logits * 2
        return output


class DoubledConfig(LlamaConfig):
    model_type = "doubled_llama"


def test_unknown_ways_to_make_logits_are_refused(tmp_path):
    AutoConfig.register("doubled_llama", DoubledConfig)
    Doubled.config_class = DoubledConfig
    AutoModelForCausalLM.register(DoubledConfig, Doubled)
    Doubled(DoubledConfig(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match="Doubled computes its logits in a way that is not known here"
    ):
        load_language_student(tmp_path)


def test_embeddings_of_the_teacher(teacher):
    tokens = len(teacher.tokenizer)
    full = language_embeddings(teacher, width=32, power=0).double()
    weight = teacher.model.get_input_embeddings().weight.detach()[:tokens].double()
    ratio = torch.pdist(full) / torch.pdist(weight)  # a rotation and a scale
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-4, atol=0)
    narrow = language_embeddings(teacher, width=8)
    assert narrow.shape == (tokens, 8)
    assert abs(float(narrow.square().mean().sqrt()) - 0.02) < 1e-6
    assert torch.equal(narrow, language_embeddings(teacher, width=8))
    with pytest.raises(
        ShapeMismatch, match=r"embeddings are 40 wide, the teacher's only 32: choose"
    ):
        language_embeddings(teacher, width=40)


def test_padded_rows_of_the_teacher_are_left_out(teacher):
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, "vocab_size": len(teacher.tokenizer) + 24}))
    padded = SimpleNamespace(model=model, tokenizer=teacher.tokenizer)
    found = language_embeddings(padded, width=8)
    model.get_input_embeddings().weight.data[len(teacher.tokenizer) :] = 100.0
    assert torch.equal(language_embeddings(padded, width=8), found)
    short = SimpleNamespace(
        model=LlamaForCausalLM(LlamaConfig(**SIZES)), tokenizer=teacher.tokenizer
    )
    with pytest.raises(ShapeMismatch, match=r"has \d+ tokens, its model embeddings for 60 only"):
        language_embeddings(short, width=8)


def test_embeddings_reach_a_tied_output_matrix(teacher):
    student = build_language_transformer(
        LanguageTransformer(layers=1, hidden_size=16), teacher.tokenizer, sequence_length=32
    )
    matrix = language_embeddings(teacher, width=16)
    set_language_embeddings(student, matrix)
    assert torch.equal(student.model.embed_tokens.weight, matrix)
    assert torch.equal(output_layer(student).weight, matrix)
    with pytest.raises(ShapeMismatch, match="make them with the model's own tokenizer and width"):
        set_language_embeddings(student, matrix[:, :8])


def test_parameters_of_other_kinds(teacher, llama, tmp_path):
    from tutelage.students.language.rnn import build_language_rnn

    def count(model):
        return sum(weight.numel() for weight in model.parameters())

    config, tokenizer = teacher.model.config, teacher.tokenizer
    sizes = {"layers": 2, "hidden_size": 32, "heads": 4, "kv_heads": 2, "intermediate_size": 40}
    student: Any = LanguageTransformer(**sizes)
    fresh = build_language_transformer(student, tokenizer, sequence_length=64)
    assert language_parameters(student, config) == count(fresh)
    student = LanguageRNN(layers=2, hidden_size=24, embedding_size=16, cell="lstm")
    assert language_parameters(student, config) == count(build_language_rnn(student, tokenizer))
    student = Pruned(vocabulary="corpus")
    saved = count(teacher.model) - language_parameters(student, config, vocabulary=300)
    assert saved == 2 * 32 * (config.vocab_size - 300)
    llama.save_pretrained(tmp_path)
    assert language_parameters(LanguagePretrained(model=tmp_path), config) == count(llama)
    with pytest.raises(ModelError, match=r"absent: no such model folder"):
        language_parameters(LanguagePretrained(model=tmp_path / "absent"), config)
