"""A teacher's work done by a pool of actors of Ray, each with the teacher in its memory.

In: batches of rows, told by their content ids. Out: parts on disk, in a folder of its own for each
task (some batches), from which the leader takes them over. An actor that dies is started again by
Ray and its task is done again: what the dead one had finished is in the store once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tutelage.errors import MissingExtra, ProcessLost
from tutelage.teachers.sharing import Handed, do_apart, require_same, rows_named

if TYPE_CHECKING:
    from tutelage.teachers.engine import RayPool

TASKS_OF_A_WORKER, MOST_BATCHES = 4, 64
"""At least so many tasks for each worker, so that none is idle for long; and what a task has at
most, so that little is lost with one."""
MOST_DEATHS = 3
"""Of one actor, or with one task, until it is given up: what does not fit dies each time."""
_LOCAL_STORE_BYTES = 100 * 2**20


class ActorsOfRay:
    """A pool of actors that answer; see `sharing.Workers`."""

    def __init__(self, pool: RayPool, handed: Callable[[], Handed]) -> None:
        self._pool, self._handed = pool, handed
        self._tasks: list[str] = []
        self._out = Path()

    def hand_out(self, batches: Sequence[Sequence[Any]], *, out: Path) -> Sequence[Sequence[Any]]:
        """Cut all of them into tasks; this process does none itself."""
        share = len(batches) // (TASKS_OF_A_WORKER * self._pool.workers)
        size = min(max(1, share), MOST_BATCHES)
        names = [[row.example_id.hex() for row in batch] for batch in batches]
        self._tasks = [
            json.dumps(names[start : start + size]) for start in range(0, len(names), size)
        ]
        self._out = out.absolute()
        return []

    def wait(self, advance: Callable[[int], None]) -> None:
        """Have the pool do them.

        Raises:
            MissingExtra: Ray is not installed.
            ProcessLost: An actor failed in a way that starting it again does not mend.
        """
        if not self._tasks:
            return
        pool = self._pool
        with _cluster(pool) as ray:
            context = ray.data.DataContext.get_current()
            shown = context.enable_progress_bars
            context.enable_progress_bars = False  # there is one already
            done = ray.data.from_items(
                [{"task": task} for task in self._tasks], override_num_blocks=len(self._tasks)
            ).map_batches(
                Answering,
                fn_constructor_args=(self._handed, str(self._out)),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    size=pool.workers, max_tasks_in_flight_per_actor=1
                ),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
                max_restarts=MOST_DEATHS,
                max_task_retries=MOST_DEATHS,
            )
            try:
                for row in done.iter_rows():
                    advance(int(row["size"]))
            except ray.exceptions.RayError as error:
                said = str(error).strip().splitlines() or [type(error).__name__]
                raise ProcessLost(
                    f"a worker of Ray has failed ({said[-1][:300]}). What was finished is kept: "
                    "start the same command again"
                ) from error
            finally:
                context.enable_progress_bars = shown


class Answering:
    """An actor: the teacher, and the rows that it may be asked about."""

    def __init__(self, handed: Callable[[], Handed], out: str) -> None:
        self._out = Path(out)
        self._work, rows = handed()
        self._known = {row.example_id: row for row in rows}
        require_same(self._work, self._out)
        self._answer = self._work.start(self._out, False)

    def __call__(self, tasks: dict[str, Any]) -> dict[str, list[int]]:
        """Do some tasks; all of each is on disk when this returns."""
        sizes = []
        for task in tasks["task"]:
            names = [[bytes.fromhex(name) for name in batch] for batch in json.loads(str(task))]
            batches = [rows_named(batch, self._known, who="a worker of Ray") for batch in names]
            name = f"ray-{uuid4().hex[:16]}"  # one that died may still hold the former
            do_apart(self._work, batches, out=self._out, name=name, answer=self._answer)
            sizes.append(sum(self._work.size(row) for batch in batches for row in batch))
        return {"size": sizes}


@contextmanager
def _cluster(pool: RayPool) -> Iterator[Any]:
    """Ray itself, connected: to what runs in this process already, to an address, or to a cluster
    on this machine that ends with the context.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise MissingExtra("ray", extra="ray", purpose="engine: ray") from None
    if ray.is_initialized():
        yield ray
        return
    if pool.address is not None:
        ray.init(address=pool.address, log_to_driver=False)
    else:
        ray.init(
            num_cpus=math.ceil(pool.workers * pool.cpus) + 1,  # one to hand out tasks
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=_LOCAL_STORE_BYTES,
        )
    try:
        yield ray
    finally:
        ray.shutdown()
