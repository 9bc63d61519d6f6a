"""Hostile exported students: folders with something changed, loaded and asked, with certificates and
in service; refused in one line of our own, or answered as probabilities.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cascade import world
from tests.hostile.asking import bounded, hostile
from tests.hostile.fuzzing.mutating import mutated
from tests.runtime.conftest import TEXTS
from tests.runtime.tiny_bundles import LABELS, describe, write_ngrams, write_tokens

from tutelage.students.vocabulary.training import train_tokenizer
from tutelage_runtime.bundle import BundleError, version_of
from tutelage_runtime.certificate import CertificateError, certificate_sum, read_certificate
from tutelage_runtime.ngrams import NGrams
from tutelage_runtime.novelty import Novelty, novelty_bytes
from tutelage_runtime.predicting import main as predict
from tutelage_runtime.releases import ReleaseError, promote, resolved, roll_back
from tutelage_runtime.session import load
from tutelage_runtime.student import TextError

OURS = (BundleError, CertificateError, ReleaseError, TextError)
SOME_TEXTS = ["a fine film", "", "\U0001f642 \u0378 \0", "word " * 300]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One exported student of each sort of inputs, with a certificate beside it."""
    place = tmp_path_factory.mktemp("bundles")
    tokenizer = train_tokenizer(TEXTS, kind="wordpiece", vocabulary_size=120).backend_tokenizer
    write_tokens(place / "tokens", tokenizer)
    write_tokens(place / "rows", tokenizer, pairs=[(5, 6, 120), (6, 7, 121)])
    write_ngrams(
        place / "ngrams",
        NGrams(["fine", "film"], ["fi"], longest_words=2, longest_characters=3, max_length=16),
    )
    for folder in list(place.iterdir()):
        gate = novelty_bytes(Novelty(np.eye(4, dtype=np.float32), 2, 0.5))
        (folder / "novelty.npz").write_bytes(gate)
        certify(folder)
    return place


def certify(folder: Path) -> None:
    import hashlib

    names = ("against", "over", "disagreement", "confidence", "rows", "thresholds", "coverage",
             "disagreed", "bound", "audit")  # fmt: skip
    values: dict[str, Any] = {name: getattr(world.certificate(), name) for name in names}
    digest = hashlib.sha256((folder / "novelty.npz").read_bytes()).hexdigest()
    student = json.loads((folder / "student.json").read_text())
    values |= {"format": 1, "student": student["version"], "labels": LABELS,
               "score": {"weights": [1, 1, 1, 1]}, "novelty": {"sha256": digest}}  # fmt: skip
    values["sum"] = certificate_sum(values)
    (folder / "certificate.json").write_text(json.dumps(values))


def mend(folder: Path) -> None:
    """Sums and versions of what lies there, as far as it can be read."""
    import hashlib

    names = ("student.json", "certificate.json", "novelty.npz")
    if not all((folder / name).is_file() for name in names):  # /dev/zero has no end
        return
    try:
        path = folder / "student.json"
        values = json.loads(path.read_text("utf-8"))
        for name in list(values["files"]):
            if (file := folder / name).is_file() and Path(name).name == name:
                values["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
        values["version"] = version_of(values)
        path.write_text(json.dumps(values))
        path = folder / "certificate.json"
        told = json.loads(path.read_text("utf-8"))
        told["student"] = values["version"]
        gate = (folder / "novelty.npz").read_bytes()
        told["novelty"]["sha256"] = hashlib.sha256(gate).hexdigest()
        told["sum"] = certificate_sum(told)
        path.write_text(json.dumps(told))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return


@st.composite
def damages(draw: st.DrawFn) -> tuple[str, list[tuple[str, int, bytes]], bool]:
    """Which student, what is changed in which file, and whether sums are mended."""
    sort = draw(st.sampled_from(["tokens", "rows", "ngrams"]))
    own = {
        "tokens": ["tokenizer.json"],
        "rows": ["pairs.npy", "tokenizer.json"],
        "ngrams": ["ngrams.json"],
    }
    names = (
        ["student.json"] * 3 + ["certificate.json"] * 2 + ["model.onnx", "novelty.npz", *own[sort]]
    )
    one = st.tuples(st.sampled_from(names), st.integers(0, 2**32), st.binary(max_size=6))
    return (
        sort,
        draw(st.lists(one, min_size=1, max_size=2)),
        draw(st.sampled_from([True] * 4 + [False])),
    )


def damage(path: Path, seed: int, raw: bytes) -> None:
    draw, content = random.Random(seed), path.read_bytes()
    if path.suffix == ".json" and draw.random() < 0.8:
        path.write_bytes(mutated(content, draw) or raw)
        return
    at = draw.randrange(len(content) + 1)
    match draw.randrange(8):
        case 0:
            path.write_bytes(raw)
        case 1:
            path.write_bytes(content[:at])
        case 2:
            path.unlink()
            path.mkdir()
        case 3:
            path.unlink()
            path.symlink_to(draw.choice(["/dev/zero", "/nowhere", path.name, "/etc/hostname"]))
        case _:
            path.write_bytes(content[:at] + raw + content[at + len(raw) :])


def use(folder: Path) -> None:
    student = load(folder)
    answers = student.answer(SOME_TEXTS)
    assert answers.probs.shape == (len(SOME_TEXTS), len(student.labels))
    found = read_certificate(folder, student=student.version, labels=student.labels)
    with contextlib.suppress(ValueError):  # a gate of other features, whose server forwards
        found.sure(answers.probs, answers.features)


@hostile("bundle")
@given(given_damage=damages())
def test_a_changed_student_is_refused_in_words_or_answers(place: Path, given_damage: Any) -> None:
    sort, changes, mended = given_damage
    folder, service = place / "changed", place / "service"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(service, ignore_errors=True)
    shutil.copytree(place / sort, folder)
    for name, seed, raw in changes:
        if (folder / name).is_file():
            damage(folder / name, seed, raw)
    if mended:
        mend(folder)
    service.mkdir()
    for ask in (use, lambda one: promote(one, service)):
        with bounded():
            try:
                ask(folder)
            except OURS as refusal:
                said = str(refusal)
                assert len(said) < 2_000, said
                said.encode("utf-8")


def test_what_the_changed_ones_begin_with_is_sound(place: Path) -> None:
    for sort in ("tokens", "rows", "ngrams"):
        use(place / sort)


@pytest.mark.parametrize(
    "version", ["..", ".", "", "/etc", "a/b", "a\0b", "\ud800", "x" * 300, 5, None, ["a"]]
)
def test_no_version_leads_out_of_its_folder(version: Any, tmp_path: Path) -> None:
    release = {"version": version, "since": "", "why": ""}
    (tmp_path / "versions").mkdir()
    (tmp_path / "current.json").write_text(json.dumps({"format": 1, "releases": [release]}))
    with pytest.raises(ReleaseError, match="cannot be read"):
        resolved(tmp_path)
    with pytest.raises(ReleaseError):
        roll_back(tmp_path)


@pytest.mark.parametrize(
    ("sort", "name"), [("tokens", "tokenizer.json"), ("ngrams", "ngrams.json")]
)
def test_a_device_in_the_place_of_a_file_is_not_read(
    place: Path, tmp_path: Path, sort: str, name: str
) -> None:
    """Also where `student.json` does not name it, so that nobody compared its sum."""
    folder = shutil.copytree(place / sort, tmp_path / "student")
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    values = json.loads((folder / "student.json").read_text())
    del values["files"][name]
    values["version"] = version_of(values)
    (folder / "student.json").write_text(json.dumps(values))
    with bounded(), pytest.raises(BundleError, match="is no file"):
        load(folder)


def test_weights_outside_of_the_folder_are_not_read(place: Path, tmp_path: Path) -> None:
    """A graph may name a file that holds its weights; onnxruntime takes none beyond the folder."""
    folder = shutil.copytree(place / "tokens", tmp_path / "student")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(range(256)) * 200)
    model = onnx.load(folder / "model.onnx")
    table = model.graph.initializer[0]
    del table.external_data[:]
    table.ClearField("raw_data")
    table.data_location = onnx.TensorProto.EXTERNAL
    size = str(4 * int(np.prod(table.dims)))
    for key, value in {"location": "../secret.bin", "offset": "0", "length": size}.items():
        table.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for name in ("certificate.json", "novelty.npz"):
        (folder / name).unlink()
    describe(folder)
    with pytest.raises(BundleError, match="cannot be run by onnxruntime"):
        load(folder).answer(["a"])


def test_a_graph_that_fails_on_a_text_is_told_in_a_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(place / "tokens", tmp_path / "student")
    for name in ("certificate.json", "novelty.npz"):
        (folder / name).unlink()
    describe(folder, inputs="rows")  # which the graph does not take
    assert predict([str(folder), "a text"]) == 2
    said = capsys.readouterr()
    assert "cannot read a text" in said.err
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == 1
