import json
import shutil

import pytest
from tests.runtime.tiny_bundles import LABELS

from tutelage_runtime import BundleError, read_bundle


@pytest.fixture
def copied(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copied")


def change(folder, **values):
    path = folder / "student.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_it_is_read_as_it_was_written(bundle):
    found = read_bundle(bundle)
    assert (found.name, found.format_name, found.inputs) == ("tiny", "onnx", "tokens")
    assert found.question.labels == tuple(LABELS)
    assert found.question.instructions is None
    assert set(found.files) == {"model.onnx", "tokenizer.json"}


def test_names_and_facts_may_change(copied):
    change(copied, name="other", facts={"teacher": "another"})
    assert read_bundle(copied).name == "other"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 2.0}, r"student\.json was changed since it was written: export"),
        ({"format": 2}, "is of format 2; this version reads format 1: install the version"),
        ({"inputs": "pixels"}, r"cannot be read \(ValueError: inputs is 'pixels'\): export"),
        ({"question": []}, r"cannot be read \(TypeError"),
        ({"files": {"../student.json": "0"}}, "is not there: export the student again"),
        ({"files": {"model.onnx": "0"}}, "is not what was exported"),
        ({"temperature": 10**400}, r"cannot be read \(OverflowError"),
        ({"temperature": 0}, "temperature is 0.0; expected more than 0"),
        ({"max_length": float("inf")}, r"cannot be read \(OverflowError"),
        ({"pad_id": -1}, "pad_id -1"),
        ({"files": {"x" * 5000: "0"}}, r"cannot be read \(OSError: .{0,300}: export"),
        (
            {"question": {"labels": ["a", "a"], "descriptions": {}, "instructions": None}},
            "2 labels",
        ),
        ({"question": {"labels": ["a", "b"], "descriptions": {}, "instructions": 5}}, "no text"),
        (
            {"inputs": "tokens", "max_length": 16, "files": {"\ud800": "0"}},
            "cannot be read|not there",
        ),
    ],
)
def test_what_was_changed_is_refused(copied, values, message):
    change(copied, **values)
    with pytest.raises(BundleError, match=message):
        read_bundle(copied)


def test_a_lost_file_and_a_file_that_is_none(copied):
    (copied / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json is not there: export"):
        read_bundle(copied)
    (copied / "student.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match=r"cannot be read .*: export"):
        read_bundle(copied)
    (copied / "student.json").unlink()
    with pytest.raises(BundleError, match=r"has no student\.json: give a folder"):
        read_bundle(copied)
