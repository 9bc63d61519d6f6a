"""A language-model run that was stopped at any step goes on and leaves, byte for byte, what an
unbroken one leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_model
from tests.train.tiny_language import tiny_documents, tiny_student, tiny_targets, tiny_teacher
from tests.train.tiny_language_training import FAST, TRAIN, VALIDATION, train
from tests.train.tiny_training import Listening

from tutelage.losses import Objective
from tutelage.train.steps.tokens.plan import plan_steps

SETTINGS = replace(FAST, batch_tokens=32, checkpoint_every_steps=3, evaluate_every_steps=4)
OBJECTIVE = Objective(soft_weight=0.9, soft_weight_final=0.2)
STUDENTS = ("pruned", "rnn", "lora")


def student(kind: str) -> Any:
    return tiny_student(kind, dropout=0.3) if kind == "rnn" else tiny_student(kind)


def left_by(out: Path, kind: str, source: Any, **options: Any) -> tuple[bytes, bytes]:
    """Train; the bytes of metrics.jsonl and of the weights."""
    model, _ = train(
        out,
        **{
            "model": student(kind),
            "source": source,
            "settings": SETTINGS,
            "objective": OBJECTIVE,
            **options,
        },
    )
    save_model(model, str(out / "weights.safetensors"))
    return (out / "metrics.jsonl").read_bytes(), (out / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    documents = [*TRAIN, *VALIDATION]
    return tiny_targets(
        tiny_teacher(), documents, tmp_path_factory.mktemp("targets"), threshold=0.05
    )


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, source: Any
) -> dict[str, tuple[bytes, bytes]]:
    return {kind: left_by(tmp_path_factory.mktemp(kind), kind, source) for kind in STUDENTS}


@pytest.mark.parametrize("kind", STUDENTS)
def test_an_interrupted_run_goes_on(
    tmp_path: Path, source: Any, undisturbed: Any, kind: str
) -> None:
    plan = plan_steps(TRAIN, SETTINGS, pack=kind != "rnn")
    total = len(plan.steps)
    assert total > 8
    written = {*range(3, total, 3), *plan.epoch_ends}
    for stop_at in (4, total) if kind == "lora" else (1, 3, 4, min(plan.epoch_ends), total):
        out = tmp_path / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            left_by(out, kind, source, progress=Listening(stop_at))
        again = Listening()
        assert left_by(out, kind, source, progress=again) == undisturbed[kind]
        assert again.done == again.total == total
        known = max((step for step in written if step < stop_at), default=0)
        assert again.said == ([f"Training: going on from step {known} of {total}"] if known else [])


def test_interrupted_again_and_again(tmp_path: Path, source: Any, undisturbed: Any) -> None:
    for stop_at in (2, 4, 5, 8):
        with pytest.raises(KeyboardInterrupt):
            left_by(tmp_path, "rnn", source, progress=Listening(stop_at))
    assert left_by(tmp_path, "rnn", source) == undisturbed["rnn"]


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": replace(SETTINGS, learning_rate=1e-3)},
        {"settings": replace(SETTINGS, micro_batch_tokens=16)},
        {"objective": replace(OBJECTIVE, soft_weight=0.5)},
        {"train": TRAIN[:-1]},
        {"source": None},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_checkpoints_of_another_run_are_not_gone_on_from(
    tmp_path: Path, source: Any, changed: dict[str, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        left_by(tmp_path / "out", "pruned", source, progress=Listening(7))
    options = {"source": source, **changed}
    progress = Listening()
    found = left_by(tmp_path / "out", "pruned", **options, progress=progress)
    (news,) = progress.said
    assert news.endswith("begins anew, for the checkpoint of step 6 that lay here was of other data, settings or first "
                         "weights")  # fmt: skip
    assert found == left_by(tmp_path / "new", "pruned", **options)


def test_targets_of_another_draw_are_another_run(tmp_path: Path, source: Any) -> None:
    documents = [*TRAIN, *VALIDATION, *tiny_documents(1, seed=9)]
    other = tiny_targets(tiny_teacher(), documents, tmp_path / "targets", threshold=0.2)
    with pytest.raises(KeyboardInterrupt):
        left_by(tmp_path / "out", "pruned", source, progress=Listening(7))
    progress = Listening()
    left_by(tmp_path / "out", "pruned", other, progress=progress)
    assert ["begins anew" in line for line in progress.said] == [True]
