"""What kinds of teacher say about themselves before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.journeys.tiny_job import LABELS, sentences
from tests.journeys.tiny_language_job import write_teacher

from tutelage.errors import ModelError, Problem
from tutelage.metrics import nll
from tutelage.teachers.causal.spec import CausalTeacherSpec
from tutelage.teachers.classifier.fits import FullFit, HeadFit, LoraFit, NoFit
from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
from tutelage.teachers.prompted.spec import PromptedTeacherSpec
from tutelage.teachers.spec import (
    SCORING_SHARE,
    ClassAssignment,
    TokenAssignment,
    placed,
    rough_tokens,
)
from tutelage.types import Example

ROWS = [
    Example(text=text, label=LABELS.index(label), row=row)
    for row, (text, label) in enumerate(sentences(60, seed=0), start=1)
]
LABELLED = ClassAssignment(LABELS, ROWS)
UNLABELLED = ClassAssignment(LABELS, [Example(text=row.text) for row in ROWS])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_teacher(tmp_path_factory.mktemp("spec") / "model"))


def test_options_are_read_without_torch_and_without_pydantic() -> None:
    code = (
        "import sys\n"
        "import tutelage.teachers.causal.spec, tutelage.teachers.classifier.spec\n"
        "import tutelage.teachers.prompted.spec, tutelage.teachers.ensemble.spec\n"
        "print({'torch', 'transformers', 'pydantic', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "spec",
    [
        ClassifierTeacherSpec(model="./nowhere"),
        ClassifierTeacherSpec(model="./nowhere", fit=NoFit()),
        PromptedTeacherSpec(model="./nowhere"),
    ],
)
def test_a_model_that_is_not_there_is_a_problem_whether_rows_are_known_or_not(spec: Any) -> None:
    for assignment in (ClassAssignment(LABELS), LABELLED):
        (problem,) = spec.problems(assignment)
        assert problem.where == "model"
        assert "nowhere" in problem.message
    with pytest.raises(ModelError, match="nowhere"):
        spec.fingerprint(LABELLED)


def test_a_language_model_that_is_not_there_is_a_problem() -> None:
    (problem,) = CausalTeacherSpec(model="./nowhere").problems(TokenAssignment(64))
    assert problem.where == "model"
    assert "nowhere" in problem.message


def test_what_only_labels_can_give_is_told_once(model: str) -> None:
    spec = PromptedTeacherSpec(model=model, shots=3, calibration="fitted")
    assert spec.problems(LABELLED) == []
    assert spec.problems(ClassAssignment(LABELS)) == []  # nobody knows the rows
    assert [str(problem) for problem in spec.problems(UNLABELLED)] == [
        "shots: no training row has a label, but shots are labelled: set 0",
        "calibration: no training row has a label, but it is fitted to labels: choose batch, which "
        "needs none",
    ]
    assert PromptedTeacherSpec(model=model, calibration="batch").problems(UNLABELLED) == []


def test_who_is_fitted_needs_labels() -> None:
    fits = (HeadFit(), LoraFit(), FullFit(), NoFit())
    needs = [ClassifierTeacherSpec(model="m", fit=fit).needs_labels for fit in fits]
    assert needs == [True, True, True, False]
    assert not PromptedTeacherSpec(model="m", shots=4).needs_labels


def test_a_problem_stands_where_the_options_stand() -> None:
    problems = [Problem("shots", "too many"), Problem("", "no", severity="warning")]
    assert placed("teacher.members.1", problems) == [
        Problem("teacher.members.1.shots", "too many"),
        Problem("teacher.members.1", "no", severity="warning"),
    ]


def test_effort_counts_reading_and_every_pass_of_fitting(model: str) -> None:
    asked: Any = {"texts": 60, "tokens": 1000.0, "rate": 1e9}
    found = {
        type(fit).__name__: ClassifierTeacherSpec(model=model, dtype="float32", fit=fit).estimate(
            LABELLED, **asked
        )
        for fit in (HeadFit(), LoraFit(rank=2, epochs=3), FullFit(epochs=1))
    }
    head, lora, full = found.values()
    assert head.tokens == lora.tokens == full.tokens == 1000.0
    weights = head.parameters
    assert weights > 10_000
    assert head.memory_bytes == 4 * weights
    once = 2.0 * weights / (SCORING_SHARE * 1e9)
    assert head.seconds == pytest.approx(once * 1000)
    assert lora.seconds == pytest.approx(once * (1000 + 9 * rough_tokens(ROWS)))
    assert full.seconds == pytest.approx(once * (1000 + 3 * rough_tokens(ROWS)))
    assert head.disk_bytes == 32 * (4 * 3 * 2 * 60 + 1000)  # what it keeps of what it reads
    assert 0 < lora.disk_bytes < full.disk_bytes == 4 * weights
    assert head.dollars == 0


def test_the_price_of_a_prompt_is_counted(model: str) -> None:
    asked: Any = {"texts": 60, "tokens": 1000.0, "rate": 1e9}
    plain = PromptedTeacherSpec(model=model).estimate(LABELLED, **asked)
    shots = PromptedTeacherSpec(model=model, shots=3).estimate(LABELLED, **asked)
    assert plain.tokens > 1000 + 60 * 5
    assert shots.tokens > plain.tokens
    assert plain.seconds == pytest.approx(
        2.0 * plain.parameters * plain.tokens / (SCORING_SHARE * 1e9)
    )


def test_a_causal_teacher_makes_nothing_and_reads_everything_once(
    model: str, tmp_path: Path
) -> None:
    spec, assignment = CausalTeacherSpec(model=model, dtype="bfloat16"), TokenAssignment(64)
    assert spec.leaves == ()
    assert spec.make(assignment, out=tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
    effort = spec.estimate(assignment, texts=3, tokens=700.0, rate=1e9)
    assert effort.tokens == 700.0
    assert effort.memory_bytes == 2 * effort.parameters == 2 * spec.facts(assignment).parameters


@pytest.mark.parametrize("spec", [HeadFit(), LoraFit(rank=2, epochs=1, cross_fit=0)])
def test_what_is_made_is_loaded(model: str, tmp_path: Path, spec: Any) -> None:
    teacher = ClassifierTeacherSpec(model=model, fit=spec)
    facts = teacher.make(LABELLED, out=tmp_path)
    assert all((tmp_path / file).is_file() for file in teacher.leaves)
    loaded = teacher.load(tmp_path, LABELLED)
    assert loaded.fingerprint == facts["teacher_fingerprint"]
    assert loaded.parameters == facts["parameters"]
    assert facts["kind"] == "classifier"
    assert facts["description"].startswith(f"classifier, fit: {spec.method}")


def test_what_is_calibrated_is_loaded(model: str, tmp_path: Path) -> None:
    teacher = PromptedTeacherSpec(model=model, shots=3, calibration="batch")
    facts = teacher.make(LABELLED, out=tmp_path)
    assert all((tmp_path / file).is_file() for file in teacher.leaves)
    loaded = teacher.load(tmp_path, LABELLED)
    assert loaded.fingerprint == facts["teacher_fingerprint"]
    assert facts["description"] == "prompted, 3 shots, calibration batch on 57 texts"


def test_validation_rows_give_a_fitted_teacher_its_temperature(model: str, tmp_path: Path) -> None:
    rows = [Example(f"{('good', 'bad')[n % 2]} thing {n}", n % 2) for n in range(80)]
    noisy = [
        Example(f"{('good', 'bad')[n % 2]} one {n}", (n + (n % 5 == 0)) % 2) for n in range(60)
    ]
    given = ClassAssignment(LABELS[:2], rows, validation=noisy)
    fit = FullFit(epochs=6, learning_rate=2e-3)
    plain, warm = (
        ClassifierTeacherSpec(model=model, dtype="float32", fit=one)
        for one in (fit, replace(fit, temperature="validation"))
    )
    assert plain.fingerprint(given) == plain.fingerprint(replace(given, validation=None))
    assert warm.fingerprint(given) != plain.fingerprint(given)
    assert warm.fingerprint(given) != warm.fingerprint(replace(given, validation=noisy[1:]))
    found = {}
    for name, spec in (("plain", plain), ("warm", warm)):
        out = tmp_path / name
        out.mkdir()
        spec.make(given, out=out)
        found[name] = spec.load(out, given)
    gold = np.array([one.label for one in noisy])
    losses = {name: nll(one.label(noisy), gold) for name, one in found.items()}
    assert losses["warm"] < losses["plain"] - 0.01
    assert found["warm"].description.temperature > 1.05
    np.testing.assert_array_equal(
        found["warm"].label(noisy).argmax(1), found["plain"].label(noisy).argmax(1)
    )


def test_a_temperature_needs_rows_that_tell_it(model: str) -> None:
    spec = ClassifierTeacherSpec(model=model, fit=FullFit(temperature="validation"))
    given = replace(LABELLED, validation=ROWS[:10])
    assert "validation has 10 labelled rows" in str(spec.problems(given)[0])
