"""GGUF files of language students: what llama.cpp reads is what the student learned."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from tests.data.tiny_tokenizer import make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tutelage.errors import ExportFailed, ModelError
from tutelage.export import gguf
from tutelage.export.gguf import splitting_of, write_f16, write_q8_0
from tutelage.export.gguf_card import normalization
from tutelage.export.subject import Origin, Subject

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
TEXTS = ["the cat sat on the mat 123", "don't   stop\n\n now", "Zoë 日本 🙂"]


def student(folder: Path, *, kind: str = "llama", tied: bool = True, **changes) -> Path:
    tokenizer = make_tokenizer()
    settings = SIZES | {"vocab_size": len(tokenizer) + 3, "tie_word_embeddings": tied} | changes
    torch.manual_seed(0)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**settings))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def splitting(folder: Path, pre_tokenizer: object) -> str:
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["pre_tokenizer"] = pre_tokenizer
    path.write_text(json.dumps(settings), "utf-8")
    return splitting_of(folder)


@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen2", False)])
def test_a_file_continues_texts_as_the_student(kind, tied, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    facts = write_f16(Subject(student(tmp_path / "one", kind=kind, tied=tied), "one"), out)
    assert facts["mean_kl"] < 1e-4
    assert facts["greedy_the_same"] >= 3  # random weights know many near ties
    reader = GGUFReader(out / "model.gguf")
    names = {tensor.name for tensor in reader.tensors}
    assert ("output.weight" in names) is not tied
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(make_tokenizer()) + 3
    assert tokens[-1].startswith("[PAD")
    assert reader.fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert reader.fields["tokenizer.ggml.add_bos_token"].contents() is False
    assert json.loads((out / "parity.json").read_text("utf-8"))["bytes"] == facts["bytes"]


def test_eight_bits_are_smaller_and_near(tmp_path):
    folder = student(tmp_path / "one", intermediate_size=80)
    for out in ("half", "byte"):
        (tmp_path / out).mkdir()
    half = write_f16(Subject(folder, "one"), tmp_path / "half")
    byte = write_q8_0(Subject(folder, "one"), tmp_path / "byte")
    assert byte["bytes"] < half["bytes"]
    assert 1e-7 < byte["mean_kl"] < 0.01
    assert byte["kept_f16"] == 2  # 80 is no multiple of 32


def test_a_normalizer_that_llama_cpp_leaves_out_is_told(tmp_path):
    folder = student(tmp_path / "one")
    assert normalization(folder) == {}
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "normalizer": {"type": "NFC"}}), "utf-8")
    (tmp_path / "out").mkdir()
    origin = Origin(
        facts={"teacher": {"model": "big/one", "kind": "language_model"}},
        numbers={"one": {"perplexity": {"value": 12.5, "low": 12.0, "high": 13.0}}},
    )
    write_f16(Subject(folder, "one", origin), tmp_path / "out")
    facts = json.loads((tmp_path / "out/parity.json").read_text("utf-8"))
    assert facts["normalizer"] == "NFC"
    assert (facts["decomposed_texts"], facts["decomposed_read_otherwise"]) == (10, 9)
    card = (tmp_path / "out/MODEL_CARD.md").read_text("utf-8")
    assert "of 10 decomposed texts 9 are read as other tokens" in card
    assert "big/one (kind `language_model`)" in card
    assert "| perplexity | 12.5 [12, 13] |" in card
    assert "pipeline_tag: text-generation" in card


def test_queries_in_the_wrong_order_are_found_out(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(gguf, "rotated", lambda weight, heads: weight)
    with pytest.raises(ExportFailed, match="does not continue texts as the student"):
        write_f16(Subject(student(tmp_path / "one"), "one"), tmp_path / "out")


def test_rotation_makes_halves_neighbours():
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert gguf.rotated(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_ways_of_splitting_are_told_by_what_they_do(tmp_path):
    folder = student(tmp_path / "one")
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert splitting(folder, level) == "gpt-2"
    assert splitting(folder, {"type": "Sequence", "pretokenizers": [digits, level]}) == "smollm"
    plain = {**level, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": gguf._QWEN2}, "behavior": "Isolated"}
    assert splitting(folder, {"type": "Sequence", "pretokenizers": [split, plain]}) == "qwen2"
    for other in (None, {"type": "Whitespace"}, {**level, "add_prefix_space": True}):
        with pytest.raises(ModelError, match="is not known to split texts as this tokenizer"):
            splitting(folder, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "scales"),
        ({"attention_bias": True}, "biases"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused_first(changes, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        write_f16(Subject(student(tmp_path / "one", **changes), "one"), tmp_path)


def test_other_students_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "tutelage_rnn_lm"}', "utf-8")
    with pytest.raises(ModelError, match="LlamaForCausalLM"):
        write_f16(Subject(tmp_path, "gru"), tmp_path)


PYTHON = os.environ.get("TUTELAGE_SERVER_PYTHON", "")
IN_LLAMA_CPP = """
import json, sys
import numpy as np
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=128, logits_all=True, verbose=False, n_threads=1)
found = []
for text in json.loads(sys.argv[2]):
    ids = model.tokenize(text.encode(), add_bos=False, special=False)
    model.reset()
    model.eval(ids)
    found.append([ids, np.array(model.scores[len(ids) - 1]).tolist()])
print(json.dumps(found))
"""


@pytest.mark.skipif(not PYTHON, reason="TUTELAGE_SERVER_PYTHON names no Python")
def test_llama_cpp_itself_reads_the_same_tokens_and_answers_alike(tmp_path):
    folder, out = student(tmp_path / "one"), tmp_path / "out"
    out.mkdir()
    write_f16(Subject(folder, "one"), out)
    words = [PYTHON, "-c", IN_LLAMA_CPP, str(out / "model.gguf"), json.dumps(TEXTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=100)
    tokenizer = make_tokenizer()
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    for text, (ids, scores) in zip(TEXTS, json.loads(done.stdout), strict=True):
        assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            wanted = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        found = torch.tensor(scores, dtype=torch.float64).log_softmax(-1)
        assert (wanted.exp() * (wanted - found)).sum() < 1e-3
