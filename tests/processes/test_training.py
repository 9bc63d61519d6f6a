"""Two processes that share gradients, or weights too, learn what one process learns."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.processes import training
from tests.processes.launching import launch
from tests.train.tiny_training import records

ROOT = Path(__file__).parents[2]
FORMS = ("whole", "sharded")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one process trained and was stopped, then two did all there is to do."""
    root = tmp_path_factory.mktemp("together")
    training.write_targets(root / "targets")
    source = training.targets(root / "targets")
    for kind in training.KINDS:
        training.train(root / "one" / kind, kind, source)
        training.train(root / "one-stopped" / kind, kind, source, stop=True)
        for form in FORMS:
            shutil.copytree(root / "one-stopped" / kind, root / f"{form}-from-one" / kind)
    ended = launch(
        [str(Path(training.__file__)), str(root)],
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HF_HUB_OFFLINE": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    return root


def assert_same(out: Path, one: Path) -> None:
    """The same records to 1e-5, and the same weights."""
    for record, expected in zip(records(out), records(one), strict=True):
        assert record == pytest.approx(expected, abs=1e-5, rel=0)
    weights, wanted = (load_file(folder / "weights.safetensors") for folder in (out, one))
    assert weights.keys() == wanted.keys()
    for name, value in weights.items():
        assert value.shape == wanted[name].shape
        assert float((value - wanted[name]).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", training.KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_two_processes_learn_what_one_does(done: Path, form: str, kind: str) -> None:
    assert_same(done / form / kind, done / "one" / kind)


@pytest.mark.parametrize("kind", training.KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_two_processes_go_on_from_a_checkpoint_of_one(done: Path, form: str, kind: str) -> None:
    out = done / f"{form}-from-one" / kind
    assert "going on from step 3" in (out / "said").read_text("utf-8")
    assert_same(out, done / "one" / kind)


@pytest.mark.parametrize("kind", training.KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_one_process_goes_on_from_a_checkpoint_of_two(done: Path, form: str, kind: str) -> None:
    out = done / f"{form}-stopped" / kind
    (checkpoint,) = (out / "checkpoints").iterdir()
    files = {path.name for path in checkpoint.iterdir()}
    assert ("tensors.safetensors" in files) == (form == "whole")
    assert all(name.endswith((".safetensors", ".json")) for name in files)  # no pickle
    training.train(out, kind, training.targets(done / "targets"))
    assert "going on from step 3" in (out / "said").read_text("utf-8")
    assert_same(out, done / "one" / kind)
