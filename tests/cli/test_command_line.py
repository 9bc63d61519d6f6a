"""Command words, exit codes, and how results look."""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys

import pytest

from tutelage.cli.commands import COMMANDS
from tutelage.cli.main import main
from tutelage.cli.parser import build_parser
from tutelage.cli.terminal import TerminalProgress, counted, explain, format_seconds
from tutelage.errors import (
    DataError,
    NotEnoughDisk,
    NotEnoughMemory,
    Problem,
    RecipeError,
    RunExists,
    TargetsCorrupt,
    TrainingDiverged,
)
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.language.recipe import LanguageRecipe

WORDS = [
    "certify",
    "check",
    "clean",
    "compare",
    "demo",
    "evaluate",
    "explain",
    "export",
    "import",
    "init",
    "label",
    "predict",
    "release",
    "repair",
    "report",
    "retrain",
    "run",
    "runs",
    "serve",
    "targets",
    "train",
    "verify",
]


def words_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (commands,) = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(commands.choices)


def test_command_words_are_a_contract() -> None:
    assert sorted(words_of(build_parser())) == WORDS == sorted(COMMANDS)


@pytest.mark.parametrize(
    "word", [word for word in WORDS if word not in ("serve", "release", "targets")]
)
def test_every_command_takes_json_and_quiet(word: str) -> None:
    options = {
        option
        for action in words_of(build_parser())[word]._actions
        for option in action.option_strings
    }
    assert {"--json", "--quiet", "--help"} <= options
    if word in ("check", "label", "train", "evaluate", "report", "run"):
        assert "--set" in options
    if word in ("label", "train", "evaluate", "report", "run", "predict", "demo"):
        assert "--out" in options


def test_help_answers_at_once_and_names_every_command() -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "tutelage", "--help"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        after = resource.getrusage(
            resource.RUSAGE_CHILDREN
        )  # not wall time: the machine may be busy
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert all(word in done.stdout for word in WORDS)
    assert min(seconds) < 0.3
    traced = [sys.executable, "-X", "importtime", "-m", "tutelage", "--help"]
    imported = subprocess.run(traced, capture_output=True, text=True, check=True, timeout=60).stderr
    assert not [name for name in ("numpy", "rich", "pydantic", "torch") if f" {name}\n" in imported]


def test_no_command_shows_the_help_and_a_wrong_word_exits_2() -> None:
    assert (
        subprocess.run(
            [sys.executable, "-m", "tutelage"], capture_output=True, check=False
        ).returncode
        == 0
    )
    assert (
        subprocess.run(
            [sys.executable, "-m", "tutelage", "rnu"], capture_output=True, check=False
        ).returncode
        == 2
    )


@pytest.mark.parametrize(
    "words",
    [
        ["run", "one", "two", "--student", "gru"],
        ["run", "--student", "gru", "one", "two"],
        ["run", "one", "--student", "gru", "two"],
        ["--student", "gru", "run", "one", "two"],
    ],
)
def test_texts_of_predict_stand_before_or_after_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[argparse.Namespace] = []
    monkeypatch.setitem(COMMANDS, "predict", lambda options: asked.append(options) or 0)
    assert main(["predict", *words]) == 0
    assert [(str(found.folder), found.text, found.student) for found in asked] == [
        ("run", ["one", "two"], "gru")
    ]


@pytest.mark.parametrize(
    "words", [["predict", "run", "one", "--studnt", "gru"], ["check", "recipe.yaml", "more"]]
)
def test_words_that_nobody_knows_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["predict", "run", "--json", "--", "-5", "--bad", "-"], ["-5", "--bad", "-"]),
        (
            ["predict", "run", "one", "--json", "two", "--", "-x", "three"],
            ["one", "two", "-x", "three"],
        ),
        (["predict", "--", "run", "--json"], ["--json"]),
        (["predict", "run", "-", "--json", "-"], ["-", "-"]),
        (["predict", "run", "-5"], ["-5"]),
        (["predict", "run", "--", "--"], ["--"]),
    ],
)
def test_texts_after_two_dashes_may_begin_with_one(
    words: list[str], texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[argparse.Namespace] = []
    monkeypatch.setitem(COMMANDS, "predict", lambda options: asked.append(options) or 0)
    assert main(words) == 0
    (found,) = asked
    assert (str(found.folder), found.text) == ("run", texts)
    assert found.json is (words.count("--json") - texts.count("--json") == 1)


def test_a_recipe_after_two_dashes_may_begin_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[argparse.Namespace] = []
    monkeypatch.setitem(COMMANDS, "check", lambda options: asked.append(options) or 0)
    assert main(["check", "--quiet", "--", "-r.yaml"]) == 0
    assert str(asked[0].recipe) == "-r.yaml"


def test_a_text_that_looks_like_an_option_gets_the_advice(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "run", "text", "--bad" + "x" * 1_000])
    said = capsys.readouterr().err
    assert "texts that begin with a dash come after --" in said
    assert len(said) < 2_000


NUMBERS = {
    ("predict", "run", "x", "--batch-size"): (1, 1_000_000),
    ("targets", "inspect", "store", "--samples"): (0, 10_000),
    ("demo", "--seed"): (0, 2**64 - 1),
    ("demo", "--sentences"): (1, 12_000),
    ("demo", "--task", "causal_lm", "--reviews"): (1, 110),
}


@pytest.mark.parametrize("words", NUMBERS)
def test_every_number_has_its_range(words: tuple[str, ...], capsys) -> None:
    least, most = NUMBERS[words]
    wrong = [least - 1, most + 1, -3, "", "x", "1.5", "1_0", "1e3", " 2", "٣", "0x2", "9" * 5_000]
    for value in wrong:
        with pytest.raises(SystemExit, match="2"):
            build_parser().parse_args([*words[:-1], f"{words[-1]}={value}"])
        said = capsys.readouterr().err
        assert f"is no whole number from {least:,} to {most:,}" in said
        assert len(said) < 2_000
    for value in (least, most):
        options = build_parser().parse_args([*words, str(value)])
        assert value in vars(options).values()


def test_no_number_is_left_without_a_range() -> None:
    def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
        found = []
        for action in parser._actions:
            found.append(action)
            if isinstance(action, argparse._SubParsersAction):
                found += [inner for one in action.choices.values() for inner in actions(one)]
        return found

    assert not [one.dest for one in actions(build_parser()) if one.type in (int, float)]


@pytest.mark.parametrize(
    ("task", "expected"), [([], Recipe), (["--task", "causal_lm"], LanguageRecipe)]
)
def test_init_writes_a_recipe_of_the_task_that_loads(task, expected, tmp_path, capsys) -> None:
    path = tmp_path / "recipe.yaml"
    assert main(["init", str(path), *task]) == 0
    assert type(load_recipe(path)) is expected
    assert f"tutelage check {path}" in capsys.readouterr().out
    assert main(["init", str(path), *task]) == 2
    assert "exists and is left as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            RecipeError([Problem("r.yaml:3", "wrong"), Problem("", "also wrong")]),
            2,
            ["r.yaml:3: wrong", "2 problems"],
        ),
        (DataError("a.csv, row 3: broken"), 2, ["DataError: a.csv, row 3"]),
        (RunExists("runs/a is another's"), 2, ["runs/a"]),
        (NotEnoughDisk("about 9 GB would be written"), 2, ["9 GB"]),
        (NotEnoughMemory("at least 9 GB"), 2, ["9 GB"]),
        (TargetsCorrupt("part-0 is damaged"), 1, ["TargetsCorrupt: part-0"]),
        (TrainingDiverged("loss nan"), 1, ["loss nan"]),
        (KeyboardInterrupt(), 130, ["run the same command again"]),
        (ZeroDivisionError("by zero"), 1, ["--traceback"]),
    ],
)
def test_errors_become_words_and_exit_codes(error, code, words, capsys) -> None:
    assert explain(error, command="run", as_json=False) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(word in captured.err for word in words)


@pytest.mark.parametrize(
    "words",
    [
        ["--task", "causal_lm", "--fast"],
        ["--task", "causal_lm", "--sentences", "500"],
        ["--reviews", "50"],
    ],
)
def test_what_belongs_to_the_other_demo_is_refused(words, tmp_path, capsys) -> None:
    assert main(["demo", *words, "--out", str(tmp_path / "demo")]) == 2
    assert re.search("leave (it|them) out", capsys.readouterr().err)
    assert not (tmp_path / "demo").exists()


def test_durations_read_as_people_say_them() -> None:
    assert [format_seconds(s) for s in (0.42, 12.3, 185, 7300)] == [
        "0.4 s",
        "12 s",
        "3 min 05 s",
        "2 h 01 min",
    ]


def test_one_thing_is_no_plural() -> None:
    assert [counted(n, "stages") for n in (0, 1, 2, 1200)] == [
        "0 stages",
        "1 stage",
        "2 stages",
        "1,200 stages",
    ]


def test_progress_is_plain_lines_where_nobody_watches(capsys) -> None:
    progress = TerminalProgress()
    with progress.bar("Labelling", total=3, unit="texts") as advance:
        advance(3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Labelling")
    assert "3 texts in" in captured.err
    assert "\r" not in captured.err


def test_bars_of_libraries_that_transformers_cannot_switch_off_are_silent() -> None:
    code = (
        "from tutelage.cli.main import main; main(['predict', 'nowhere', 'text'])\n"
        "from tqdm.auto import tqdm\n"
        "list(tqdm(range(3), desc='Converting and de-quantizing GGUF tensors...'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "nowhere holds neither a model" in done.stderr
    assert "Converting" not in done.stderr
