"""Everything tutelage raises on purpose, in one tree. Each class is also the stdlib error it is.

    TutelageError
    ├── RecipeError        (ValueError)          the recipe or its data is wrong; carries every
    │                                            problem at once
    ├── DataError          (ValueError)          a data file cannot be used
    ├── ModelError         (ValueError)          a model folder, weight file or model name cannot
    │                                            be used
    ├── ShapeMismatch      (ValueError)          two arrays that must agree do not
    ├── TargetsError       (ValueError)
    │   ├── TargetsMismatch                      made for another teacher, tokenizer or label list
    │   ├── TargetsIncomplete                    labelling has not finished, or a row has no targets
    │   └── TargetsCorrupt                       a part does not match its checksum or its schema
    ├── RunExists          (FileExistsError)     the run folder belongs to another recipe
    ├── RunIncomplete      (FileNotFoundError)   a stage that must come first has not been done
    ├── RunDamaged         (ValueError)          a file of a run is not what its stage left
    ├── BudgetSpent                              a teacher's budget is spent; nothing is wrong, and
    │                                            the same command goes on with a larger one
    ├── TrainingDiverged   (ArithmeticError)     the loss is not a number or exploded
    ├── ExportFailed       (ArithmeticError)     an export does not answer as its student does
    ├── AssetError         (OSError)             weights or data could not be fetched or are not
    │                                            what was expected
    ├── NotEnoughDisk      (OSError)             the estimate does not fit
    ├── StorageError       (OSError)             the file system refuses: a disk that is full, files
    │                                            of another user, a place that cannot be
    ├── NotEnoughMemory    (MemoryError)         the estimate is more than the machine has
    └── MissingExtra       (ImportError)         an optional package is not installed

Every message answers three questions: what was given, what was expected, what to do. What it quotes
of the input is cut and shown on one line: see `one_line`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

MOST_CHARACTERS = 1_000
"""Of one message: what is longer quotes input, which is cut in its middle."""
MOST_PROBLEMS = 50
"""That are written out one by one."""
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What breaks a line, moves the cursor of a terminal, turns the direction of text, or is none."""


def one_line(text: str, *, most: int = MOST_CHARACTERS) -> str:
    r"""A message as one line of bounded length that any terminal may be given.

    Args:
        text: What to say; it may quote megabytes, or what a stranger wrote.
        most: Characters that are kept, about: the beginning, and the end, which says what to do.

    Returns:
        The text; control characters are escaped, and what is left out of the middle is counted.

    Example:
        >>> one_line("two\nlines"), one_line("a" * 5_000, most=30)
        ('two\\nlines', 'aaaaaaaaaaaaaaaaaaaa ... (4,970 characters more) ... aaaaaaaaaa')
    """
    if len(text) > most:
        head, tail = text[: most * 2 // 3], text[len(text) - most // 3 :]
        text = f"{head} ... ({len(text) - len(head) - len(tail):,} characters more) ... {tail}"
    return _UNSEEN.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a recipe or a data file, and where.

    `where` is what a person would look for, for instance `recipe.yaml:12` or `train.csv, row 7`.
    `severity` is `error` (nothing runs) or `warning` (it runs, and the report repeats it).
    """

    where: str
    message: str
    severity: str = "error"

    def __post_init__(self) -> None:
        """Show on one line what was quoted."""
        for name in ("where", "message"):
            object.__setattr__(self, name, one_line(getattr(self, name)))

    def __str__(self) -> str:
        """The problem on one line."""
        return f"{self.where}: {self.message}" if self.where else self.message


class TutelageError(Exception):
    """The root of the tree; catch it to catch everything that tutelage raises on purpose."""

    def __str__(self) -> str:
        """The message on one line, with what it quotes cut."""
        return one_line(super().__str__())


class RecipeError(TutelageError, ValueError):
    """A recipe, or the data it names, cannot be used; `problems` holds every reason at once."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        """Take the problems, or one message when there is no place to point at."""
        self.problems = [Problem("", problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.lines()))

    def __str__(self) -> str:
        """One line for each problem."""
        return str(self.args[0])

    def lines(self) -> list[str]:
        """The problems one by one; of very many the first ones, and how many more there are."""
        lines = [str(problem) for problem in self.problems[:MOST_PROBLEMS]]
        left = len(self.problems) - len(lines)
        return [*lines, f"and {left:,} problems more"] if left else lines


class DataError(TutelageError, ValueError):
    """A data file cannot be used."""


class ModelError(TutelageError, ValueError):
    """A model folder, weight file or model name cannot be used."""


class ShapeMismatch(TutelageError, ValueError):
    """Two arrays that must agree in shape do not."""


class TargetsError(TutelageError, ValueError):
    """A target store cannot serve what was asked of it."""


class TargetsMismatch(TargetsError):
    """The store was made by another teacher, or for another tokenizer or label list."""


class TargetsIncomplete(TargetsError):
    """Labelling has not finished, or a row has no targets."""


class TargetsCorrupt(TargetsError):
    """A part of the store does not match its checksum or its schema."""


class RunExists(TutelageError, FileExistsError):
    """The run folder belongs to another recipe and is left as it is."""


class RunIncomplete(TutelageError, FileNotFoundError):
    """A stage that must come first has not been done."""


class RunDamaged(TutelageError, ValueError):
    """A file of a run is not what its stage left there."""


class BudgetSpent(TutelageError):
    """A teacher's budget is spent: the work ends in good order, and goes on with a larger one."""


class ProcessLost(TutelageError, ConnectionError):
    """Another process of the same launch has ended."""


class TrainingDiverged(TutelageError, ArithmeticError):
    """The loss is not a number or exploded; the last good checkpoint is kept."""


class ExportFailed(TutelageError, ArithmeticError):
    """An export does not answer as its student does; it is kept aside."""


class AssetError(TutelageError, OSError):
    """Weights or data could not be fetched, or are not what was expected."""


class NotEnoughDisk(TutelageError, OSError):
    """The estimated output does not fit on the disk."""


class StorageError(TutelageError, OSError):
    """The file system refuses what was asked of it; what was whole before is still whole."""

    def __init__(
        self, message: str, *, errno: int | None = None, is_wrong_place: bool = False
    ) -> None:
        """Say what happened.

        Args:
            message: Where it happened, what is so, and what to do.
            errno: The system's own number for it, where it gave one.
            is_wrong_place: Whether another path mends it, rather than more room or rights.
        """
        super().__init__(message)
        self.errno = errno
        self.is_wrong_place = is_wrong_place


class NotEnoughMemory(TutelageError, MemoryError):
    """The estimated need is more than all memory of this machine."""


class MissingExtra(TutelageError, ImportError):
    """An optional package is not installed."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        """Name the package, the extra that brings it, and what needs it."""
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'tutelage[{extra}]'"
        )


_LONGEST_WORD, _MANY_WORDS = 200, 1_000


def nearest(word: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
    """The known word most like `word`, for a message that guesses what was meant.

    Args:
        word: What was given; case is set aside.
        known: What there is.
        cutoff: From 0 to 1, how like it a word must be.

    Returns:
        None when nothing is that close.
    """
    if len(word) > _LONGEST_WORD:
        return None
    wanted = word.casefold()
    folded = {candidate.casefold(): candidate for candidate in known}
    if len(folded) > _MANY_WORDS:  # comparing with each would take a second
        begin = wanted[:2]
        folded = {key: one for key, one in folded.items() if key.startswith(begin)}
    match = get_close_matches(wanted, list(folded)[:_MANY_WORDS], n=1, cutoff=cutoff)
    return folded[match[0]] if match else None
