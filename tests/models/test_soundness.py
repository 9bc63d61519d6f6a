"""Model folders that are not whole, not of numbers, not what they say, or not meant well: refused
where they are loaded and before anything is computed, in one line that names what is wrong."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tutelage.errors import ModelError, NotEnoughMemory
from tutelage.models import (
    check_model,
    load_language_model,
    load_language_student,
    model_facts,
    read_config,
    read_tokenizer,
)
from tutelage.models.completeness import is_finite
from tutelage.models.finding import locate
from tutelage.models.headers import MOST_HEADER_BYTES, gguf_shapes, safetensors_shapes
from tutelage.models.sanity import require_sane_sizes

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(language_model, tmp_path) -> Path:
    path = tmp_path / "model"
    language_model.model.save_pretrained(path)
    language_model.tokenizer.save_pretrained(path)
    return path


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **entries) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def load(folder: Path, how: Any):
    match how:
        case "student":
            return load_language_student(folder)
        case "check":
            return check_model(str(folder), head="causal_lm")
        case _:
            labels = ("no", "yes") if how == "sequence" else ()
            return load_language_model(str(folder), head=how, labels=labels)


EVERYWHERE = pytest.mark.parametrize(
    "how", ["causal_lm", "backbone", "sequence", "student", "check"]
)


@EVERYWHERE
def test_a_missing_tensor_is_named(folder, how):
    change_weights(folder, lambda weights: weights.pop(UP))
    with pytest.raises(ModelError, match=r"1 of the tensors .*layers\.1\.mlp\.up_proj\.weight"):
        load(folder, how)


def test_many_missing_tensors_are_counted(folder):
    def drop(weights):
        for name in [name for name in weights if ".mlp." in name]:
            del weights[name]

    change_weights(folder, drop)
    with pytest.raises(ModelError, match=r"6 of the tensors that .* are not .* and 3 more\)"):
        load(folder, "causal_lm")


@EVERYWHERE
def test_a_tensor_of_another_shape_is_named(folder, how):
    change_weights(folder, lambda weights: weights.update({UP: weights[UP][:10].clone()}))
    with pytest.raises(ModelError, match=r"up_proj\.weight is \[10, 32\] where \["):
        load(folder, how)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("how", ["causal_lm", "backbone", "sequence", "student"])
def test_a_value_that_is_no_number_is_found(folder, how, value):
    def spoil(weights):
        weights[UP][0, 0] = value

    change_weights(folder, spoil)
    with pytest.raises(ModelError, match=r"no numbers \(NaN or infinite\): .*up_proj\.weight"):
        load(folder, how)


def test_large_numbers_are_numbers():
    assert is_finite(torch.full((4,), 3e38))  # though their sum is none
    assert is_finite(torch.tensor([1, 2]))
    assert not is_finite(torch.tensor([1.0, float("nan")], dtype=torch.bfloat16))


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
@pytest.mark.parametrize("how", ["causal_lm", "student", "check"])
def test_weights_that_were_cut_are_refused(folder, how, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read as safetensors"):
        load(folder, how)


def test_a_header_beyond_bounds_is_not_read(folder):
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", MOST_HEADER_BYTES + 1))
        file.truncate(MOST_HEADER_BYTES + 100)
    with pytest.raises(ModelError, match="has a header of 32 MB"):
        safetensors_shapes(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ModelError, match=r"it has 10 bytes, its header 1,152,921,504,606,846,976"):
        safetensors_shapes(path)


def test_a_backbone_needs_no_pooler_and_no_head(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=420,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    for head in ("backbone", "sequence"):
        check_model(str(tmp_path), head=head, fresh_head=True)
    with pytest.raises(ModelError, match=r"4 of the tensors .*classifier\.bias"):
        check_model(str(tmp_path), head="sequence")


def test_a_classifier_that_lacks_its_head_gets_no_fresh_one(folder):
    sequence = load_language_model(str(folder), head="sequence", labels=("no", "yes"))
    sequence.model.save_pretrained(folder)
    check_model(str(folder), head="sequence")
    change_weights(folder, lambda weights: weights.pop("score.weight"))
    with pytest.raises(ModelError, match=r"score\.weight"):
        load(folder, "sequence")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"num_hidden_layers": 10**8}, "num_hidden_layers: 100,000,000, but at most 10,000"),
        ({"num_hidden_layers": 9000}, r"num_hidden_layers: 9,000, .* 1,024 .*20 tensors"),
        ({"num_labels": 10**9}, "num_labels: 1,000,000,000"),
        ({"hidden_size": 10**30}, "hidden_size: a number of some"),
        ({"vocab_size": 0}, "vocab_size: 0; expected"),
        ({"hidden_size": 2**29}, r"of another shape|could not be loaded"),
        ({"num_attention_heads": 0}, "could not be loaded"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings"),
        ({"pad_token_id": "x"}, "pad_token_id"),
        ({"id2label": {"0": 5, "1": "b"}}, "id2label"),
        ({"dtype": "float99"}, "could not be loaded"),
        ({"model_type": "unheard_of"}, "does not know this kind of model"),
        ({"transformers_weights": "pytorch_model.bin"}, "could not be loaded"),
    ],
)
def test_configurations_of_no_model_are_refused_at_once(folder, entries, said):
    change_config(folder, **entries)
    started = time.process_time()
    with pytest.raises(ModelError, match=said):
        check_model(str(folder), head="causal_lm")
    assert time.process_time() - started < 5


def test_nested_and_endless_configurations_are_refused(folder):
    deep: dict = {}
    for _ in range(60):
        deep = {"a": deep}
    with pytest.raises(ModelError, match="nested more than 50 deep"):
        require_sane_sizes(deep, name="m")
    with pytest.raises(ModelError, match="is a list"):
        require_sane_sizes([], name="m")
    for text in ('{"a":' * 100_000, "[]", "", '{"vocab_size": ' + "9" * 5000 + "}", "\xff\xfe"):
        (folder / "config.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ModelError) as refusal:
            read_config(str(folder))
        assert len(str(refusal.value)) < 700
        assert "\n" not in str(refusal.value)


def test_files_without_end_are_not_read(folder):
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ModelError, match=r"tokenizer\.json has 65 MB, .* up to 64 MB"):
        locate(str(folder))


def test_weights_elsewhere_are_not_followed(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    for name, said in (
        ("../model-1.safetensors", "in the same folder"),
        ("pytorch_model.bin", r"expected \*\.safetensors"),
        ("model-2.safetensors", r"lacks model-2\.safetensors"),
    ):
        index.write_text(json.dumps({"metadata": {}, "weight_map": {UP: name}}))
        with pytest.raises(ModelError, match=said):
            load(folder, "causal_lm")
    index.write_text("[]")
    with pytest.raises(ModelError, match="cannot be read"):
        model_facts(str(folder))
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    with pytest.raises(ModelError, match="additions to those of another model"):
        load(folder, "causal_lm")


def test_code_in_a_folder_is_not_run(folder, capfd):
    (folder / "own.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    change_config(folder, model_type="own", auto_map={"AutoConfig": "own.C"})
    path = folder / "tokenizer_config.json"
    own = {"auto_map": {"AutoTokenizer": ["own.T", None]}, "tokenizer_class": "T"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
    for read in (read_config, read_tokenizer, load_language_student):
        with pytest.raises(ModelError, match="code of its own, which is not run"):
            read(str(folder))
    assert not Path("ran").exists()
    assert "[y/N]" not in capfd.readouterr().out


def test_weights_beyond_memory_are_refused_before_they_take_it(folder):
    from tutelage.models.completeness import require_memory

    with pytest.raises(NotEnoughMemory, match=r"take 4,000 TB but this machine has"):
        require_memory([(10**6, 10**9)], dtype=torch.float32, name="m")


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        (9, struct.pack("<IQ", 4, 2**60), r"'?a'? has 1,152,921,504,606,846,976 entries"),
        (9, struct.pack("<IQ", 8, 2**60), "entries, but"),
        (8, struct.pack("<Q", 2**60), "entries, but"),
        (77, b"", "unknown type 77"),
        (9, struct.pack("<IQIQIQ", 9, 1, 9, 1, 9, 1), "lists of lists"),
    ],
)
def test_a_gguf_header_is_held_against_its_bytes(tmp_path, kind, payload, said):
    path = tmp_path / "m.gguf"
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
    path.write_bytes(header + struct.pack("<I", kind) + payload + bytes(64))
    with pytest.raises(ModelError, match=said):
        gguf_shapes(path)
    with pytest.raises(ModelError, match=said):
        read_config(str(path))


def test_a_gguf_file_tells_of_no_more_than_it_holds(tmp_path):
    path = tmp_path / "m.gguf"
    for counts in ((2**60, 0), (0, 2**60)):
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + bytes(64))
        with pytest.raises(ModelError, match="it tells of"):
            gguf_shapes(path)
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="cannot be read as a GGUF file"):
        gguf_shapes(path)
