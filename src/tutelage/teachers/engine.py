"""Where a teacher's work is done: in this process, in all of a launch, or on a cluster of Ray.

In: what the section `engine` of a recipe says, and how a worker comes by its work. Out: who shares
the batches, see `teachers.sharing`. Nothing here imports Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from tutelage.processes import crew
from tutelage.teachers.sharing import Handed, OthersOfCrew, Workers


@dataclass(frozen=True, kw_only=True)
class RayPool:
    """The teacher's soft targets are written by a pool of actors of Ray (extra `ray`), each with
    the teacher in its memory.
    """

    workers: Annotated[int, Ge(1)] = 2
    """How many of them there are."""

    address: str | None = None
    """Of a cluster that runs, such as auto or ray://host:10001, all machines of which see the files
    of the recipe and the run under the same paths; None: one on this machine, for this call."""

    cpus: Annotated[float, Gt(0)] = 1.0
    """Processor cores that Ray keeps for each; torch uses so many threads."""

    gpus: Annotated[float, Ge(0)] = 0.0
    """Accelerators that Ray keeps for each; parts of one are shared."""


@contextmanager
def workers_of(engine: RayPool | None, handed: Callable[[], Handed]) -> Iterator[Workers | None]:
    """Who shares the work of a store while the context is open; in a launch the others `follow`.

    Args:
        engine: A pool; None: the processes of this launch, if there are several.
        handed: How a worker comes by its work, on any machine: pickle knows it.
    """
    if engine is not None:
        from tutelage.teachers.on_ray import ActorsOfRay

        yield ActorsOfRay(engine, handed)
    elif (mine := crew()).size > 1:
        with OthersOfCrew(mine) as others:
            yield others
    else:
        yield None
