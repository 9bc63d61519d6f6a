"""What a language-model run cannot use is refused before the teacher is even loaded, with place and
remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.cli.main import main
from tutelage.errors import NotEnoughDisk, NotEnoughMemory, RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run as run_recipe
from tutelage.tasks.language import checking as language_checking


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("language") / "teacher")


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr("tutelage.models.load_language_model", refuse)


def append(name: str, line: str | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")

    return change


def nothing(_: Path) -> None:
    pass


BROKEN: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "empty text": (
        append("train.jsonl", json.dumps({"text": "  "})),
        [],
        r"train\.jsonl, row 37: `text` is empty; delete the row or fill it in",
    ),
    "missing text": (
        append("test.jsonl", "{}"),
        [],
        r"test\.jsonl, row 13: `text` is missing; delete the row",
    ),
    "missing column": (
        nothing,
        ["data.text_field=body"],
        r"train\.jsonl: no column `body`.*The columns are `text`",
    ),
    "too long": (
        append("validation.jsonl", json.dumps({"text": "phone camera " * 90})),
        [],
        r"validation\.jsonl: 1 of 9 documents has more than 96 tokens.*\(row 9\); set "
        r"task\.long_documents to split",
    ),
    "broken encoding": (
        append("train.jsonl", b'{"text": "caf\xe9"}'),
        [],
        r"train\.jsonl.*is not UTF-8",
    ),
    "no json": (append("train.jsonl", "text"), [], r"train\.jsonl, row 37: line 37 is not JSON"),
    "absent file": (nothing, ["data.test=tset.jsonl"], r"tset\.jsonl: no such file"),
    "no conversation": (
        nothing,
        ["data.text_field=null", "data.messages_field=text"],
        r"row 1: `text` is '.*expected a list of \{role",
    ),
    "beyond the context": (
        nothing,
        ["task.sequence_length=300"],
        r"sequence_length.*teacher reads at most 256",
    ),
    "more layers than there are": (
        nothing,
        ["students.half.layers=3"],
        r"students\.half: layers is 3",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_data_and_students_that_cannot_be_used(name: str, teacher: Path, tmp_path: Path) -> None:
    change, overrides, message = BROKEN[name]
    path = write_language_job(tmp_path, teacher)
    change(tmp_path)
    recipe: Any = load_recipe(path, overrides=overrides)
    with pytest.raises(RecipeError, match=message):
        run_recipe(recipe, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_student_with_another_tokenizer_of_the_same_size(teacher: Path, tmp_path: Path) -> None:
    other = write_teacher(tmp_path / "other", corpus=2)
    sizes = [
        json.loads((folder / "config.json").read_text())["vocab_size"]
        for folder in (teacher, other)
    ]
    students = (
        "mine: {kind: pretrained, model: ./teacher}\nyours: {kind: pretrained, model: ./other}"
    )
    path = write_language_job(tmp_path, teacher, students=students)
    recipe: Any = load_recipe(path)
    with pytest.raises(RecipeError, match=r"students\.yours\.model: .*tokenizer") as caught:
        run_recipe(recipe, root=tmp_path / "runs")
    assert "students.mine" not in str(caught.value)
    assert sizes[0] == sizes[1]
    assert not (tmp_path / "runs").exists()


def test_a_student_that_reads_less_or_numbers_a_rare_token_otherwise(
    teacher: Path, tmp_path: Path
) -> None:
    for name in ("short", "swapped"):
        shutil.copytree(teacher, tmp_path / name)
    config = json.loads((tmp_path / "short" / "config.json").read_text("utf-8"))
    (tmp_path / "short" / "config.json").write_text(
        json.dumps({**config, "max_position_embeddings": 64}), "utf-8"
    )
    rules = json.loads((tmp_path / "swapped" / "tokenizer.json").read_text("utf-8"))
    vocabulary = rules["model"]["vocab"]
    vocabulary["Ā"], vocabulary["ā"] = (
        vocabulary["ā"],
        vocabulary["Ā"],
    )  # bytes 0 and 1: no text holds them
    (tmp_path / "swapped" / "tokenizer.json").write_text(json.dumps(rules), "utf-8")
    students = (
        "short: {kind: pretrained, model: ./short}\nswapped: {kind: pretrained, model: ./swapped}"
    )
    path = write_language_job(tmp_path, teacher, students=students)
    recipe: Any = load_recipe(path)
    with pytest.raises(RecipeError) as caught:
        run_recipe(recipe, root=tmp_path / "runs")
    said = str(caught.value)
    assert "students.short.model: reads at most 64 tokens but task.sequence_length is 96" in said
    assert "as many ids as the teacher's" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("free_disk_bytes", lambda _: 1000, NotEnoughDisk, "would be written but 1.00 kB are free"),
        (
            "total_memory_bytes",
            lambda: 10**5,
            NotEnoughMemory,
            r"at least \d+ kB of memory would be needed at once",
        ),
    ],
)
def test_too_little_disk_or_memory(
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: Any,
    error: Any,
    message: str,
) -> None:
    recipe: Any = load_recipe(write_language_job(tmp_path, teacher))
    monkeypatch.setattr(language_checking, name, value)
    with pytest.raises(error, match=message):
        run_recipe(recipe, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    found = language_checking.check_language_recipe(recipe, root=tmp_path / "runs")
    assert len([problem for problem in found.problems if problem.severity == "error"]) == 1


def test_targets_that_keep_more_are_estimated_larger(teacher: Path, tmp_path: Path) -> None:
    sizes = []
    for targets in (
        "{kind: sampled}",
        "{kind: sampled, threshold: 0.01}",
        "{kind: sampled, budget: 200}",
    ):
        recipe: Any = load_recipe(write_language_job(tmp_path, teacher, targets=targets))
        sizes.append(language_checking.check_language_recipe(recipe).estimate["target_bytes"])
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("targets", "objective", "message"),
    [
        (
            "{kind: sampled}",
            "{divergence: reverse_kl}",
            "sampled targets cannot serve reverse_kl .*kind top_k or hidden or live",
        ),
        (
            "{kind: top_k}",
            "{divergence: jensen_shannon}",
            "top_k targets cannot serve jensen_shannon",
        ),
        (
            "{kind: sampled}",
            "{loss_temperature: 2}",
            "sampled targets hold what the teacher said at temperature 1",
        ),
    ],
)
def test_an_objective_that_the_targets_cannot_serve(
    teacher: Path, tmp_path: Path, targets: str, objective: str, message: str
) -> None:
    path = write_language_job(tmp_path, teacher, targets=targets, objective=objective)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert "recipe.yaml:8" in str(caught.value)


def test_adapters_on_a_recurrent_student(teacher: Path, tmp_path: Path) -> None:
    path = write_language_job(
        tmp_path, teacher, students="gru: {kind: rnn, hidden_size: 8, lora: {rank: 2}}"
    )
    with pytest.raises(RecipeError, match=r"recipe\.yaml:7.*recurrent cells take no adapters"):
        load_recipe(path)


def test_on_the_command_line_it_is_exit_2_and_no_traceback(
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_language_job(tmp_path, teacher)
    append("train.jsonl", json.dumps({"text": ""}))(tmp_path)
    monkeypatch.chdir(tmp_path)
    for word in ("check", "run"):
        assert main([word, "recipe.yaml"]) == 2
        said = capsys.readouterr()
        talk = said.out + said.err  # problems are what `check` was asked for, and to `run` an error
        assert "row 37" in talk
        assert "delete the row or fill it in" in talk
        assert "Traceback" not in talk
    assert not (tmp_path / "runs").exists()
