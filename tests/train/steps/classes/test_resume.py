"""A killed run that is started again leaves, byte for byte, what an undisturbed one leaves."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tests.train.tiny import TinyStudent, tiny_rows
from tests.train.tiny_training import FAST, Listening, train

from tutelage.train.journal import read_newest

NOISY = replace(
    FAST,
    epochs=2,
    batch_size=4,
    gradient_accumulation=2,
    word_dropout=0.2,
    ema_decay=0.9,
    checkpoint_every_steps=5,
)
ROWS = tiny_rows(60, labelled=0.6)


def left_by(out: Path, **options) -> tuple[bytes, bytes]:
    """Train; the bytes of metrics.jsonl and of the final weights."""
    model, _ = train(out, **{"rows": ROWS, "settings": NOISY, **options})
    save_file(model.state_dict(), out / "weights.safetensors")
    return (out / "metrics.jsonl").read_bytes(), (out / "weights.safetensors").read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked and killed")
def test_kill_9_at_random_moments_changes_nothing(tmp_path):
    program = Path(__file__).parents[2] / "tiny.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "8", "0"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout.splitlines()[-1])
    assert len({step for step in reached if step > 0}) >= 2, (
        f"the kills left checkpoints at {reached}: too few to prove anything"
    )
    for name in ("metrics.jsonl", "weights.safetensors"):
        assert (tmp_path / "whole" / name).stat().st_size > 1000
        assert (tmp_path / "whole" / name).read_bytes() == (
            tmp_path / "killed" / name
        ).read_bytes(), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return left_by(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("stop_at", [1, 5, 6, 8, 9, 13, 16])
@pytest.mark.parametrize("use_teacher", [True, False])
def test_an_interrupted_run_goes_on(tmp_path, undisturbed, stop_at, use_teacher):
    expected = undisturbed if use_teacher else left_by(tmp_path / "control", use_teacher=False)
    with pytest.raises(KeyboardInterrupt):
        left_by(tmp_path / "out", progress=Listening(stop_at), use_teacher=use_teacher)
    again = Listening()
    assert left_by(tmp_path / "out", progress=again, use_teacher=use_teacher) == expected
    assert again.done == again.total == 16
    known = max((step for step in (5, 8, 10, 15) if step < stop_at), default=0)
    assert again.said == ([f"Training: going on from step {known} of 16"] if known else [])


def test_what_a_kill_left_half_written_goes(tmp_path):
    left = tmp_path / ".metrics.jsonl.4711.tmp"
    left.touch()
    left_by(tmp_path)
    assert not left.exists()


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = left_by(tmp_path)
    before = read_newest(tmp_path / "checkpoints")
    progress = Listening()
    assert left_by(tmp_path, progress=progress) == first
    assert progress.said == ["Training: going on from step 16 of 16"]
    after = read_newest(tmp_path / "checkpoints")
    assert before is not None
    assert after is not None
    assert before[1] == after[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": replace(NOISY, learning_rate=2e-2)},
        {"model": TinyStudent(seed=1)},
        {"model": TinyStudent(dropout=0.5)},
        {"rows": tiny_rows(60, seed=7)},
        {"unknown_id": 2},
        {"use_teacher": False},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_checkpoints_of_another_run_are_not_gone_on_from(tmp_path, changed):
    with pytest.raises(KeyboardInterrupt):
        left_by(tmp_path / "out", progress=Listening(9))
    progress = Listening()
    fresh = {**changed, "model": TinyStudent()} if "model" not in changed else changed
    initial = {name: value.clone() for name, value in fresh["model"].state_dict().items()}
    found = left_by(tmp_path / "out", progress=progress, **fresh)
    (news,) = progress.said
    assert (
        "begins anew, for the checkpoint of step 8 that lay here was of other data, settings or "
        "first" in news
    )
    fresh["model"].load_state_dict(initial)
    assert found == left_by(tmp_path / "new", **fresh)


def test_a_damaged_newest_checkpoint_costs_only_time(tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        left_by(tmp_path, progress=Listening(11))
    (tmp_path / "checkpoints" / "step-00000010" / "tensors.safetensors").write_bytes(b"damaged")
    progress = Listening()
    assert left_by(tmp_path, progress=progress) == undisturbed
    assert progress.said == ["Training: going on from step 8 of 16"]
