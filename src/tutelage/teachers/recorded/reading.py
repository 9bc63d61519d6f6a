"""A file of answers, or a store of soft targets, as one distribution for each text.

In: a path, and what the person says of it. Out: a `Recorded` with what was understood, and every
problem with its row. Nothing depends on the order of rows, columns or labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data.formats import read_rows
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import ROWS_SHOWN, Problems, check_columns, text_usable
from tutelage.errors import Problem, TargetsError, nearest
from tutelage.teachers.recorded.cells import Numbers, TextRow, read_numbers
from tutelage.teachers.recorded.layout import Form, Layout, Told, find_layout
from tutelage.types import example_id, same_name

SUM_TOLERANCE = 0.01
"""How far off 1 the sum of recorded probabilities may be: people round."""
VOTE_SMOOTHING = 0.5
"""Added to the votes for each label, where votes were counted."""
LABEL_SMOOTHING = 0.1
"""Votes shared out among all labels, where texts have one label each."""
_SAME = 1e-6
"""Distributions of one text that differ by less are the same one, written twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Understanding:
    """What a person says of a file of answers; the defaults: it is found out."""

    text_field: str = "text"
    """The column of the text."""
    form: Told = "auto"
    """What the answers are recorded as."""
    columns: Mapping[str, str] | None = None
    """The column of each label."""
    answer_field: str | None = None
    """The column that holds whole answers."""
    smoothing: float | None = None
    """Votes added to those for each label; None: as is usual for the form."""
    requests: Path | None = None
    """Of the output of a batch API, the file of its requests."""
    template: str | None = None
    """Of a log, what stands around the text in a message; None: nothing."""
    limits: ReadingLimits = USUAL
    """How large rows and the file may be."""
    rows_shown: int = ROWS_SHOWN
    """Rows of a kind of problem that are named."""


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Answers, one for each of N texts."""

    source: str
    """The name of the file in messages."""
    form: Form
    labels: tuple[str, ...]
    """C names in the order of the distributions."""
    ids: list[bytes]
    """Content ids of the texts, sorted."""
    texts: list[str] | None
    """The texts themselves; None: a store knows only their ids."""
    probs: NDArray[np.float32]
    """Distributions, [N, C]."""
    columns: tuple[str, ...] = ()
    """Columns that were read for the answers."""
    rows: int = 0
    """Of the file."""
    unanswered: int = 0
    """Rows whose answer is empty."""
    repeated: int = 0
    """Rows about a text that another row is about."""
    contradicting: int = 0
    """Texts with several distributions that differ, or with several labels that do."""
    percentages: bool = False
    """Whether the file gives numbers that sum to 100."""
    smoothing: float | None = None
    """Votes that were added to those for each label; None: there are no votes."""
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""

    def facts(self) -> dict[str, Any]:
        """What was understood, as JSON."""
        entropies = -(self.probs * np.log(np.clip(self.probs, 1e-30, None))).sum(axis=1)
        means = self.probs.mean(axis=0, dtype=np.float64)
        return {
            "file": self.source,
            "form": self.form,
            "columns": list(self.columns),
            "rows": self.rows,
            "texts": len(self.ids),
            "labels": {
                label: round(float(mean), 6) for label, mean in zip(self.labels, means, strict=True)
            },
            "mean_entropy_nats": round(float(entropies.mean(dtype=np.float64)), 6),
            "unanswered_rows": self.unanswered,
            "repeated_rows": self.repeated,
            "contradicting_texts": self.contradicting,
            "percentages": self.percentages,
            "smoothing": self.smoothing,
            "notes": self.notes,
        }


def read_recorded(
    path: Path, labels: Sequence[str] | None, how: Understanding | None = None
) -> tuple[Recorded | None, list[Problem]]:
    """Read answers that somebody has.

    Args:
        path: A csv, tsv, jsonl or parquet file; or the folder of a store of class probabilities, or
            of a run that holds one.
        labels: The names in the order of the distributions; None: those of the file.
        how: What the person says of it.

    Returns:
        The answers in the rows that can be used, and the problems of all others; None where there
        are none.
    """
    how = how or Understanding()
    if path.is_dir():
        return _read_store(path, labels)
    problems = Problems(path.name, shown=how.rows_shown)
    columns = read_rows(path, problems, fields=(), limits=how.limits).columns
    if not columns:
        return None, problems.listed()
    problems = Problems(path.name, shown=how.rows_shown)  # what rows lack is told once, below
    layout = find_layout(
        columns,
        labels,
        problems,
        form=how.form,
        by_label=how.columns,
        answer_field=how.answer_field,
    )
    if layout is None:
        return None, problems.listed()
    return _read_table(path, labels, layout, how, problems)


def _read_table(
    path: Path,
    labels: Sequence[str] | None,
    layout: Layout,
    how: Understanding,
    problems: Problems,
) -> tuple[Recorded | None, list[Problem]]:
    fields = (how.text_field, *layout.columns)
    rows = read_rows(path, problems, fields=fields, limits=how.limits)
    optional = {how.text_field} if layout.form == "log" else set()
    advice = "Name the right one: text_field"
    if not check_columns(rows, fields, problems, keys="", optional=optional, advice=advice):
        return None, problems.listed()
    if layout.form == "log":
        return _read_log(path, rows.values, labels, layout, how, problems)
    usable = [
        TextRow(number, text, cells)
        for number, cells in rows.values
        if text_usable(text := cells.get(how.text_field), number, how.text_field, problems)
    ]
    numbers = read_numbers(usable, layout, labels, problems)
    scale = 1.0
    if layout.form == "probabilities":
        scale = _scale(numbers)
        numbers = _require_sums(numbers, layout, scale, problems)
    else:
        numbers = _with_votes(numbers)
    answered = bool(len(numbers.rows))
    if len(numbers.labels) < 2 and answered:
        problems.add_file(
            f"all answers speak of one label, {', '.join(numbers.labels)}; expected at least two"
        )
    elif not answered and not problems.listed():
        problems.add_file("no row has an answer; expected one for every text")
    if not answered or len(numbers.labels) < 2:
        return None, problems.listed()
    votes = layout.form != "probabilities"
    found = _gathered(path, numbers, layout, how, scale, len(rows.values), are_votes=votes)
    return found, problems.listed()


def _read_log(
    path: Path,
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    labels: Sequence[str] | None,
    layout: Layout,
    how: Understanding,
    problems: Problems,
) -> tuple[Recorded | None, list[Problem]]:
    from tutelage.teachers.recorded.logs import read_calls

    calls = read_calls(
        rows,
        layout,
        labels,
        problems,
        text_field=how.text_field,
        template=how.template,
        requests=how.requests,
        smoothing=VOTE_SMOOTHING if how.smoothing is None else how.smoothing,
        limits=how.limits,
    )
    if calls is not None and not calls.numbers.rows and not problems.listed():
        problems.add_file(f"no call has an answer; {'; '.join(calls.notes)}")
    if calls is None or not calls.numbers.rows:
        return None, problems.listed()
    found = _gathered(path, calls.numbers, layout, how, 1.0, len(rows), are_votes=calls.are_votes)
    return replace(found, notes=calls.notes), problems.listed()


def _scale(numbers: Numbers) -> float:
    """What distributions of a file sum to: 1, or 100 where most do that."""
    sums = numbers.values.sum(axis=1)
    return 100.0 if len(sums) and float(np.mean(np.abs(sums - 100.0) <= 1.0)) > 0.5 else 1.0


def _row_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over labels to the same last digit in whatever order these stand, [N]."""
    return np.ascontiguousarray(np.sort(values, axis=1)).sum(axis=1)


def _require_sums(numbers: Numbers, layout: Layout, scale: float, problems: Problems) -> Numbers:
    """Only rows whose probabilities sum to 1; others are noted."""
    totals = _row_sums(numbers.values) / scale
    fits = np.abs(totals - 1.0) <= SUM_TOLERANCE
    where = ", ".join(f"`{name}`" for name in layout.columns[:5])
    for place in np.flatnonzero(~fits).tolist():
        told, total = numbers.values[place], totals[place]
        counts = bool((told == np.floor(told)).all()) and total > 1
        problems.add(
            "whose probabilities do not sum to 1",
            numbers.rows[place].number,
            f"the probabilities in {where} sum to {total:.4g}; expected 1 (or 100 in every row)"
            + ("; if they are votes, say form: votes" if counts else ""),
        )
    good = np.flatnonzero(fits).tolist()
    return _only(numbers, good, unanswered=numbers.unanswered)


def _with_votes(numbers: Numbers) -> Numbers:
    """Only rows in which anybody voted."""
    voted = np.flatnonzero(numbers.values.sum(axis=1) > 0).tolist()
    silent = len(numbers.rows) - len(voted)
    return _only(numbers, voted, unanswered=numbers.unanswered + silent)


def _only(numbers: Numbers, places: Sequence[int], *, unanswered: int) -> Numbers:
    rows = [numbers.rows[place] for place in places]
    return Numbers(numbers.labels, rows, numbers.values[list(places)], unanswered)


def _gathered(
    path: Path,
    numbers: Numbers,
    layout: Layout,
    how: Understanding,
    scale: float,
    num_rows: int,
    *,
    are_votes: bool,
) -> Recorded:
    """One distribution for each text."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(numbers.rows):
        places.setdefault(row.text, []).append(place)
    named = sorted((example_id(text), text) for text in places)
    repeated = len(numbers.rows) - len(named)
    form, smoothing = layout.form, None
    if form == "labels" and how.form == "auto" and 2 * repeated >= len(numbers.rows):
        form = "votes"  # each text has several labels: those of several people
    if are_votes:
        usual = VOTE_SMOOTHING if form != "labels" else LABEL_SMOOTHING / len(numbers.labels)
        smoothing = usual if how.smoothing is None else how.smoothing
    several = {
        at: numbers.values[places[text]]
        for at, (_, text) in enumerate(named)
        if len(places[text]) > 1
    }
    contradicting = 0
    if smoothing is None:
        shares = numbers.values / _row_sums(numbers.values)[:, None]
        probs = shares[[places[text][0] for _, text in named]]
        for at in several:
            found = shares[places[named[at][1]]]
            contradicting += bool((np.ptp(found, axis=0) > _SAME).any())
            probs[at] = [math.fsum(column) / len(found) for column in found.T]
    else:
        votes = numbers.values[[places[text][0] for _, text in named]]
        for at, found in several.items():
            contradicting += form == "labels" and bool((np.ptp(found, axis=0) > 0).any())
            votes[at] = found.sum(axis=0)
        probs = (votes + smoothing) / (votes.sum(axis=1) + smoothing * votes.shape[1])[:, None]
    return Recorded(
        source=path.name,
        form=form,
        labels=numbers.labels,
        ids=[name for name, _ in named],
        texts=[text for _, text in named],
        probs=probs.astype(np.float32),
        columns=layout.columns,
        rows=num_rows,
        unanswered=numbers.unanswered,
        repeated=repeated,
        contradicting=contradicting,
        percentages=scale != 1.0,
        smoothing=smoothing,
    )


def store_folder(path: Path) -> Path:
    """The store that a person means by its folder or by that of a run."""
    return path / "targets" if (path / "targets" / "manifest.json").is_file() else path


def _read_store(path: Path, labels: Sequence[str] | None) -> tuple[Recorded | None, list[Problem]]:
    """The answers in a store of the same labels, in whichever order these stand there."""
    from tutelage.targets import TargetStore

    folder = store_folder(path)
    try:
        store = TargetStore.open(folder)
    except TargetsError as error:
        return None, [Problem(path.name, str(error))]
    theirs = store.manifest.labels
    if store.manifest.kind != "class_probabilities":
        message = (
            f"{folder} holds targets of kind {store.manifest.kind}; expected class_probabilities"
        )
        return None, [Problem(path.name, message)]
    places = {same_name(label): place for place, label in enumerate(theirs)}
    wanted = theirs if labels is None else tuple(labels)
    if set(map(same_name, wanted)) != set(places):
        odd = next((one for one in wanted if same_name(one) not in places), None)
        guess = nearest(odd, theirs) if odd is not None else None
        message = (
            f"{folder} was written for the labels {', '.join(theirs)}, but "
            f"{', '.join(wanted)} are asked for{f'; did you mean `{guess}`?' if guess else ''}: "
            "expected the same ones, in any order"
        )
        return None, [Problem(path.name, message)]
    ids = store.ids
    if not ids:
        return None, [Problem(path.name, f"{folder} holds no answer")]
    order = [places[same_name(label)] for label in wanted]
    probs = np.asarray(store.lookup(ids), np.float32)[:, order]
    found = Recorded(
        source=path.name,
        form="store",
        labels=tuple(wanted),
        ids=ids,
        texts=None,
        probs=probs,
        rows=len(ids),
        notes=[f"written by teacher {store.manifest.teacher}"],
    )
    return found, []
