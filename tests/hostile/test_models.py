"""Hostile model folders: configurations, tokenizers, chat templates and headers of weights that are
right but for something, and some that are nothing at all."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.hostile.asking import answer, bounded, hostile
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tutelage.data.documents.chat import render_chat
from tutelage.errors import TutelageError
from tutelage.models import (
    check_model,
    context_tokens,
    load_language_model,
    load_language_student,
    load_tokenizer,
    model_facts,
    read_config,
    read_tokenizer,
)
from tutelage.students import Predictor

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
RECIPE = """\
task: {kind: causal_lm, sequence_length: 32}
data: {train: train.jsonl, test: train.jsonl, validation: 0.3, text_field: text}
teacher: {kind: causal_lm, model: ./model}
students: {half: {kind: pruned, layers: 1}}
train: {epochs: 1}
"""
NUMBERS = st.one_of(
    st.sampled_from(
        [0, 1, 2, 3, -1, 4, 7, 31, 32, 33, 64, 1000, 10**6, 10**8, 2**31, 2**63, 10**30, 10**100]
    ),
    st.sampled_from([0.0, -1.5, 1e300, float("nan"), float("inf")]),
)
WORDS = st.one_of(
    st.sampled_from(
        ["", "silu", "llama", "bert", "t5", "gpt2", "albert", "sdpa", "float16", "default", "a/b"]
    ),
    st.text(max_size=8),
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
CONFIG_KEYS = [
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "num_key_value_heads", "max_position_embeddings", "model_type", "architectures", "dtype",
    "torch_dtype", "hidden_act", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta",
    "pad_token_id", "bos_token_id", "eos_token_id", "id2label", "label2id", "num_labels",
    "tie_word_embeddings", "auto_map", "quantization_config", "attn_implementation",
    "_attn_implementation", "is_encoder_decoder", "text_config", "layer_types", "head_dim",
    "attention_bias", "sliding_window", "problem_type", "transformers_version", "configuration_files",
    "transformers_weights", "use_cache", "output_attentions", "output_hidden_states", "experts_implementation",
    "per_layer_config", "fusion_config", "distributed_config", "pretraining_tp", "initializer_range",
    "attention_dropout", "mlp_bias", "return_dict", "chunk_size_feed_forward", "name_or_path",
]  # fmt: skip
TOKENIZER_KEYS = [
    "tokenizer_class", "model_max_length", "pad_token", "eos_token", "bos_token", "unk_token",
    "padding_side", "truncation_side", "auto_map", "extra_special_tokens", "chat_template",
    "additional_special_tokens", "added_tokens_decoder", "add_prefix_space", "backend", "is_local",
    "clean_up_tokenization_spaces", "model_input_names", "split_special_tokens", "name_or_path",
    "tokenizer_file", "legacy", "add_bos_token", "add_eos_token", "vocab_file", "errors", "from_slow",
]  # fmt: skip
RAW = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"",
            b"{}",
            b"[]",
            b"null",
            b"0",
            b'{"a":' * 50_000,
            b"[" * 100_000,
            b"9" * 6000,
            b"\xff\xfe",
        ]
    ),
)


def tiny_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        ["the kettle in the harbour is rusty"] * 3,
        trainers.BpeTrainer(
            vocab_size=270, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", chat_template=template
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A recipe, its data and its teacher; `sound` is the teacher as it was."""
    place = tmp_path_factory.mktemp("hostile")
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(place / "sound")
    tokenizer.save_pretrained(place / "sound")
    rows = [{"text": f"the kettle in the harbour is rusty number {n}"} for n in range(12)]
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "recipe.yaml").write_text(RECIPE)
    return place


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates that do not end are many here: so much of each is seen."""
    monkeypatch.setattr("tutelage.models.sanity.PROBE_SECONDS", 0.25)
    monkeypatch.setattr("tutelage.data.documents.chat.RENDER_SECONDS", 0.25)


def fresh(place: Path) -> Path:
    folder = place / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place / "sound", folder)
    return folder


def attempt(*asked: Any) -> None:
    """Each is done, or refused in words of our own on one line."""
    for ask in asked:
        with bounded():
            try:
                ask()
            except TutelageError as refusal:
                said = str(refusal)
                assert len(said) < 2000, said
                assert "\n" not in said, said
                return


@st.composite
def edits(draw: st.DrawFn, keys: list[str]) -> list[tuple[str, Any]]:
    """A few entries changed, added or (by `...`) taken out."""
    value = st.one_of(NUMBERS, ANYTHING, st.just(...))
    return draw(st.lists(st.tuples(st.sampled_from(keys), value), min_size=1, max_size=3))


def edit(path: Path, changes: list[tuple[str, Any]]) -> None:
    entries = json.loads(path.read_text())
    for key, value in changes:
        if value is ...:
            entries.pop(key, None)
        else:
            entries[key] = value
    path.write_text(json.dumps(entries), errors="surrogatepass")


def use(folder: Path, which: int) -> None:
    """What runs and students do with a model, the dearer of it in turns."""
    spec = str(folder)
    attempt(
        lambda: model_facts(spec),
        lambda: context_tokens(read_config(spec)),
        [
            lambda: check_model(spec, head="causal_lm"),
            lambda: load_language_student(spec),
            lambda: load_language_model(spec, head="backbone"),
        ][which % 3],
    )


@hostile("model_config")
@given(changes=st.one_of(edits(CONFIG_KEYS), RAW), which=st.integers(0, 5))
def test_configurations(place: Path, changes: Any, which: int) -> None:
    folder = fresh(place)
    if isinstance(changes, bytes):
        name = ["config.json", "config.json", "generation_config.json", "model.safetensors.index.json",
                "model.safetensors", "model.safetensors"][which]  # fmt: skip
        if name.endswith("index.json"):
            (folder / "model.safetensors").rename(folder / "model-1.safetensors")
        (folder / name).write_bytes(changes)
    elif which == 0:
        _edit_header(folder / "model.safetensors", changes)
    else:
        edit(folder / ("generation_config.json" if which == 1 else "config.json"), changes)
    if which == 5:
        answer("check", place / "recipe.yaml")
    else:
        use(folder, which)


def _edit_header(path: Path, changes: list[tuple[str, Any]]) -> None:
    """Change entries of tensors in the header of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = sorted(header)
    for number, (key, value) in enumerate(changes):
        name = names[hash(key) % len(names)] if number else names[-1]
        if value is ...:
            header.pop(name, None)
        elif isinstance(header.get(name), dict):
            header[name][["dtype", "shape", "data_offsets"][len(key) % 3]] = value
    text = json.dumps(header).encode("utf-8", "replace")
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


@hostile("tokenizer_config")
@given(changes=st.one_of(edits(TOKENIZER_KEYS), RAW), which=st.integers(0, 4))
def test_tokenizers(place: Path, changes: Any, which: int) -> None:
    folder = fresh(place)
    if isinstance(changes, bytes):
        name = ["tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json",
                "chat_template.jinja"][which]  # fmt: skip
        (folder / name).write_bytes(changes)
    elif which == 0:
        backend = json.loads((folder / "tokenizer.json").read_text())
        parts = sorted(backend)
        for key, value in changes:
            part = parts[len(key) % len(parts)]
            backend[part] = None if value is ... else value
        (folder / "tokenizer.json").write_text(json.dumps(backend), errors="surrogatepass")
    else:
        edit(folder / "tokenizer_config.json", changes)

    def encode() -> None:
        tokenizer = load_tokenizer(str(folder))
        ids = tokenizer(["the kettle", "\U0001f642 \u0378"], truncation=True)["input_ids"]
        tokenizer.decode(ids[0])

    attempt(lambda: read_tokenizer(str(folder)), encode)
    if which == 4:
        answer("check", place / "recipe.yaml")


PIECES = st.sampled_from(
    [
        "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{% if x %}",
        "{% endif %}", "{{ messages[9] }}", "{{ 'a' * 10**9 }}", "{{ 9 ** 9 ** 9 }}", "{{ 1 / 0 }}",
        "{% for i in range(99999) %}", "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% set ns = namespace(s='a') %}", "{% set ns.s = ns.s + ns.s %}", "{{ ns.s }}", "{{ x.y.z }}",
        "{{ ''.__class__.__mro__ }}", "{{ messages | tojson(indent=10**6) }}", "{{ lipsum(n=10**6) }}",
        "{{ raise_exception('no') }}", "{{ strftime_now('%Y') }}", "{% include 'config.json' %}",
        "{% generation %}", "{% endgeneration %}", "{{ '%099999999d' % 1 }}", "{{ bos_token }}",
        "{% break %}", "{{ messages | map('list') | list }}", "{{ [1] * 10**9 }}", "{# ", " #}", "{%", "}}",
        "{{ 'a'.center(10**9) }}", "{{ cycler(1).next() }}", "{{ self }}", "{{ caller() }}",
        "{{ '{:>999999999}'.format(1) }}", "{{ 'x' | indent(10**9) }}", "<|im_end|>", "\n",
    ]
)  # fmt: skip


@pytest.fixture
def _uncollected():
    """hypothesis watches the collector with a callback, in which what ends a template is lost, and
    pytest makes a failure of that.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_uncollected")
@hostile("chat_template")
@given(template=st.one_of(st.lists(PIECES, max_size=6).map("".join), st.text(max_size=30)))
def test_chat_templates(place: Path, template: str) -> None:
    folder = fresh(place)
    text = template.encode("utf-8", "surrogatepass")
    (folder / "chat_template.jinja").write_bytes(text)
    found: list[Any] = []
    attempt(lambda: found.append(read_tokenizer(str(folder))))
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    for tokenizer in found:
        if tokenizer.chat_template:
            attempt(lambda tokenizer=tokenizer: render_chat(tokenizer, turns))


def test_the_folder_itself_is_sound(place: Path) -> None:
    for which in range(3):
        use(fresh(place), which)
    assert len(load_file(place / "sound" / "model.safetensors")) > 10
    assert load_language_student(place / "sound") is not None
    with pytest.raises(TutelageError):
        Predictor.load(place / "sound")
    code, said = answer("check", place / "recipe.yaml")
    assert code == 0, said
