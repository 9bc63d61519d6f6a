"""Messages: bounded, on one line, whatever they quote."""

from __future__ import annotations

import pytest

from tutelage import errors
from tutelage.errors import (
    MOST_PROBLEMS,
    DataError,
    Problem,
    RecipeError,
    TutelageError,
    nearest,
    one_line,
)

HOSTILE = "\x1b[2Jtwo\nlines\r\u202e\x07\ud800"
EVERY = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, TutelageError) and one is not errors.MissingExtra
]


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_quotes_little_and_on_one_line(kind: type[TutelageError]) -> None:
    said = str(kind(f"the label {'x' * 1_000_000} {HOSTILE} is wrong; correct it"))
    assert len(said) < 1_200
    assert said.startswith("the label xxx")
    assert said.endswith("is wrong; correct it")
    assert "characters more" in said
    assert said.isprintable()


def test_short_messages_are_as_they_were_written() -> None:
    assert str(DataError("a.csv, row 3: ‘schön’ × 日本")) == "a.csv, row 3: ‘schön’ × 日本"
    assert one_line("a\tb") == "a\\tb"


def test_a_problem_is_one_line_in_all_its_parts() -> None:
    problem = Problem(f"recipe{HOSTILE}.yaml:3", f"{HOSTILE}{'y' * 5_000}")
    assert len(str(problem)) < 1_500
    assert str(problem).isprintable()


def test_of_many_problems_the_first_are_told_and_the_rest_counted() -> None:
    error = RecipeError([Problem(f"r.yaml:{line}", "wrong") for line in range(1, 10_001)])
    lines = str(error).splitlines()
    assert len(error.problems) == 10_000
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == f"and {10_000 - MOST_PROBLEMS:,} problems more"


def test_a_guess_is_quick_among_many_words_and_for_long_ones() -> None:
    labels = [f"label{place}" for place in range(40_000)]
    assert nearest("label17x", labels) is not None
    assert nearest("x" * 1_000_000, labels) is None
    assert nearest("Epoch", ["epochs", "seed"]) == "epochs"
