"""Which columns of a file hold a teacher's answers, and in what form.

In: the names of the columns, and what the person said. Out: a `Layout`, or the problem that there
is none. A column for each label is told by its name (`p_LABEL`, `votes_LABEL`, `LABEL`); otherwise
one column holds the whole answer. What could be one or the other is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tutelage.data.rows import Problems, listed_columns
from tutelage.errors import nearest
from tutelage.types import same_name

Form = Literal["probabilities", "votes", "labels", "log", "store"]
"""What answers are recorded as: a distribution for a text; how many chose each label; one label;
requests and replies of an API; a store of soft targets."""
Told = Literal["auto", "probabilities", "votes", "labels", "log"]
"""What a person may say of a file; auto: it is found by the names of its columns."""

_PREFIXES: dict[Form, tuple[str, ...]] = {
    "probabilities": ("p_", "prob_", "probability_"),
    "votes": ("votes_",),
}
"""Before a label, in the name of its column."""
_ANSWERS: tuple[tuple[str, Form], ...] = (
    ("probabilities", "probabilities"),
    ("probs", "probabilities"),
    ("votes", "votes"),
    ("annotations", "votes"),
    ("labels", "votes"),
    ("label", "labels"),
)
"""Names of a column that holds the whole answer, the richest form first."""
_LOGS = (("request", "response"), ("input", "output"), ("custom_id", "response"))
"""Columns of a call: what was asked, or its number; and the reply."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the answers of a file stand."""

    form: Form
    by_label: Mapping[str, str] = field(default_factory=dict)
    """The column of each label; empty: one column holds the whole answer."""
    answer: str | None = None
    """That column; of a log the reply."""
    question: str | None = None
    """Of a log the column of the request, or of its number."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read for the answers."""
        one = (self.question, self.answer)
        return (*self.by_label.values(), *(name for name in one if name is not None))


def find_layout(
    columns: Sequence[str],
    labels: Sequence[str] | None,
    problems: Problems,
    *,
    form: Told = "auto",
    by_label: Mapping[str, str] | None = None,
    answer_field: str | None = None,
) -> Layout | None:
    """Where the answers stand.

    Args:
        columns: Of the file.
        labels: Whose answers are wanted; None: whichever the file has.
        problems: Takes what is wrong.
        form: What the person says that they are.
        by_label: The columns of labels, of a person who names them.
        answer_field: The column that holds whole answers, likewise.

    Returns:
        None where it is not known; then a problem says why.
    """
    if by_label is not None:
        return _given(columns, labels, problems, form=form, by_label=by_label)
    if answer_field is not None:
        if answer_field in columns:
            known: Form = dict(_ANSWERS).get(answer_field, "labels")
            return Layout(known if form == "auto" else form, answer=answer_field)
        guess = nearest(answer_field, columns)
        problems.add_file(
            f"no column `{answer_field}`{f'; did you mean `{guess}`?' if guess else '.'} "
            f"The columns are {_named(columns)}. Name the right one: answer_field"
        )
        return None
    for one in ("probabilities", "votes"):
        if form in ("auto", one) and (found := _for_each_label(columns, labels, one)):
            return Layout(one, by_label=found)
    if labels is not None and form in ("auto", "probabilities", "votes"):
        names = {same_name(name): name for name in columns}
        if all(same_name(label) in names for label in labels):
            found = {label: names[same_name(label)] for label in labels}
            return Layout("votes" if form == "votes" else "probabilities", by_label=found)
    for question, answer in _LOGS:
        if form in ("auto", "log") and question in columns and answer in columns:
            return Layout("log", answer=answer, question=question)
    for name, one in _ANSWERS:
        if name in columns and form in ("auto", one):
            return Layout(one, answer=name)
    if form == "votes" and "label" in columns:  # a row for each vote
        return Layout("votes", answer="label")
    problems.add_file(_nothing(columns, labels, form))
    return None


def _given(
    columns: Sequence[str],
    labels: Sequence[str] | None,
    problems: Problems,
    *,
    form: Told,
    by_label: Mapping[str, str],
) -> Layout | None:
    """The columns that a person named, if there is one for every label."""
    spelled = {same_name(label): column for label, column in by_label.items()}
    wanted = list(by_label) if labels is None else list(labels)
    known = {same_name(label) for label in wanted}
    absent = [label for label in wanted if same_name(label) not in spelled]
    if absent:
        problems.add_file(
            f"`columns` names none for {', '.join(absent)}; expected one for every label"
        )
    for label in by_label:
        if same_name(label) not in known:
            problems.add_file(
                f"`columns` names one for {label}, which is no label; the labels are "
                f"{', '.join(wanted)}"
            )
    for column in by_label.values():
        if column not in columns:
            guess = nearest(column, columns)
            problems.add_file(
                f"no column `{column}`{f'; did you mean `{guess}`?' if guess else '.'} "
                f"The columns are {_named(columns)}. Name the right one under `columns`"
            )
    if problems.listed():
        return None
    found = {label: spelled[same_name(label)] for label in wanted}
    return Layout("votes" if form == "votes" else "probabilities", by_label=found)


def _for_each_label(
    columns: Sequence[str], labels: Sequence[str] | None, form: Form
) -> dict[str, str]:
    """A column for each label, by what stands before the label in its name; empty: there are
    none.
    """
    for prefix in _PREFIXES[form]:
        named = {
            same_name(name[len(prefix) :]): name
            for name in columns
            if name.startswith(prefix) and len(name) > len(prefix)
        }
        if labels is None and len(named) > 1:
            return named
        if labels is not None and all(same_name(label) in named for label in labels):
            return {label: named[same_name(label)] for label in labels}
    return {}


def _named(columns: Sequence[str]) -> str:
    return listed_columns([f"`{column}`" for column in columns])


def _nothing(columns: Sequence[str], labels: Sequence[str] | None, form: Told) -> str:
    label = "LABEL" if labels is None else labels[0]
    wanted = {
        "probabilities": f"a column `p_{label}` for each label, or one column `probabilities` of "
        f'JSON such as {{"{label}": 0.7, ...}}',
        "votes": f"a column `votes_{label}` for each label, or one column `votes` with the labels "
        "that were chosen",
        "labels": "a column `label`",
        "log": "columns `request` and `response`",
    }
    said = wanted.values() if form == "auto" else [wanted[form]]
    partly = [] if labels is None else _partly(columns, labels)
    missing = f" There is none for {', '.join(partly[:5])}." if partly else ""
    return (
        f"no answers were found in the columns {_named(columns)}; expected {'; or '.join(said)}."
        f"{missing} Name other columns with `columns` or `answer_field`"
    )


def _partly(columns: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Labels without a column, where others have one."""
    prefixes = [*_PREFIXES["probabilities"], *_PREFIXES["votes"], ""]
    names = set(map(same_name, columns))
    for prefix in prefixes:
        absent = [label for label in labels if same_name(f"{prefix}{label}") not in names]
        if 0 < len(absent) < len(labels):
            return absent
    return []
