"""What differs between tasks, behind one Protocol: `task.py` says what a task does, each folder
does it. This file alone chooses between them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tutelage.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tutelage.tasks.task import Task

KINDS = {
    "classification": "tutelage.tasks.classification.task",
    "causal_lm": "tutelage.tasks.language.task",
}
"""The module of every task by the name that recipes give it; it holds a `TASK`."""


def task_named(kind: object) -> Task:
    """The task that a recipe names; a misspelled name is taken for the task that it is most like,
    whose checks then say that it is misspelled.
    """
    near = nearest(kind, KINDS) if isinstance(kind, str) else None
    return importlib.import_module(KINDS[near or "classification"]).TASK


def all_tasks() -> Iterator[Task]:
    """Every task, in the order of `KINDS`."""
    yield from map(task_named, KINDS)


__all__ = ["KINDS", "all_tasks", "task_named"]
