"""Problems of a data file, collected row by row without flooding the person who reads them."""

from __future__ import annotations

from difflib import get_close_matches

from tutelage.errors import Problem

ROWS_SHOWN = 5
"""How many rows of one kind of problem are named; the rest is counted."""


class Problems:
    """Collects the problems of one file. State: the problems so far, by kind."""

    def __init__(self, source: str) -> None:
        """Collect for the file that messages call `source`."""
        self.source = source
        self._of_file: list[Problem] = []
        self._of_rows: dict[str, list[Problem]] = {}
        self._counts: dict[str, int] = {}

    def add_file(self, message: str, *, line: int | None = None) -> None:
        """Note something wrong with the file as a whole, or at a line of it."""
        self._of_file.append(
            Problem(self.source if line is None else f"{self.source}, line {line}", message)
        )

    def add(self, kind: str, row: int, message: str) -> None:
        """Note something wrong with a row; `kind` completes "and 12 more rows ..."."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown_so_far = self._of_rows.setdefault(kind, [])
        if len(shown_so_far) < ROWS_SHOWN:
            shown_so_far.append(Problem(f"{self.source}, row {row}", message))

    def listed(self) -> list[Problem]:
        """All problems: of the file, then of rows by kind, each kind closed by the count of rows
        not shown.
        """
        listed = list(self._of_file)
        for kind, problems in self._of_rows.items():
            listed += problems
            if hidden := self._counts[kind] - len(problems):
                listed.append(
                    Problem(
                        self.source,
                        f"and {hidden:,} more rows {kind}"
                        if hidden > 1
                        else f"and 1 more row {kind}",
                    )
                )
        return listed


def nearest(word: str, known: list[str], *, cutoff: float = 0.6) -> str | None:
    """The known word most like `word` (case set aside), or None when nothing reaches `cutoff`, from
    0 to 1.
    """
    folded = {candidate.casefold(): candidate for candidate in known}
    match = get_close_matches(word.casefold(), list(folded), n=1, cutoff=cutoff)
    return folded[match[0]] if match else None


def shown(value: object, *, most: int = 60) -> str:
    """A value as it stands in a message: quoted, on one line, cut to `most` characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
