"""The processes that a launcher started to do one recipe together.

`accelerate launch` (or torchrun) starts the same command several times and numbers the processes in
the environment (`RANK`, `WORLD_SIZE`). Process 0 leads: it reads, decides and writes. What only one
may do, the leader does while the others wait; what all do, each does its share of.

They talk through a group of their own (gloo), beside the one over which gradients go: waiting there
has no time limit, and a process that dies is noticed by all others at once.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

from tutelage.errors import ProcessLost

Item = TypeVar("Item")

_NO_LIMIT = timedelta(days=365)


@dataclass(frozen=True)
class Crew:
    """All processes of this launch, seen from one of them."""

    rank: int = 0
    """The number of this process, from 0."""
    size: int = 1
    """How many there are."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that decides and writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this process does of a list that all of them hold: every `size`-th."""
        return items[self.rank :: self.size]

    def told(self, value: Any = None) -> Any:
        """What the leader says, to all; the others' own `value` counts for nothing.

        Args:
            value: Any value that pickle knows, of the leader.

        Raises:
            ProcessLost: A process is gone.
        """
        if self.size == 1:
            return value
        import torch.distributed as dist

        said = [value]
        with self._together():
            dist.broadcast_object_list(said, src=0, group=_group(), device=_cpu())
        return said[0]

    def gathered(self, value: Any) -> list[Any]:
        """What every process says, by rank, to all.

        Raises:
            ProcessLost: A process is gone.
        """
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        said: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(said, value, group=_group())
        return said

    def wait(self) -> None:
        """Until every process has come to this point.

        Raises:
            ProcessLost: A process is gone.
        """
        self.gathered(None)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Inside, the others begin when the leader has ended: what it leaves on disk, they find.

        Raises:
            ProcessLost: A process is gone.
        """
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ConnectionError) as error:
            raise lost(self, error) from error


ALONE = Crew()
"""A process that no launcher started."""


@lru_cache(maxsize=1)
def crew() -> Crew:
    """The processes that this one belongs to, as the environment tells; joined when first asked.

    Raises:
        ProcessLost: The others cannot be reached.
    """
    if not is_launched():
        return ALONE
    found = Crew(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    try:
        _group()
    except (RuntimeError, ValueError, ConnectionError) as error:
        raise lost(found, error) from error
    return found


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Inside, what libraries raise where gradients or numbers cannot be exchanged any more becomes
    `ProcessLost`.

    Raises:
        ProcessLost: A process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_launched() or not any(word in str(error) for word in _OF_LOSS):
            raise
        raise lost(crew(), error) from error


_OF_LOSS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "TCPStore")
"""What stands in messages of torch about processes that do not answer."""


def lost(crew: Crew, error: BaseException) -> ProcessLost:
    """The error of a process that the others do not answer any more.

    Args:
        crew: Seen from it.
        error: What the library said.
    """
    again = (
        "start the same command again: what was finished is kept, and training goes on from its "
        "last checkpoint"
    )
    if told := [one for one in endings(crew.size) if one.rank != crew.rank]:
        return ProcessLost(
            f"process {told[0].rank} has ended: {told[0].said}. Mend that, and {again}"
        )
    said = str(error).strip().splitlines() or [type(error).__name__]
    return ProcessLost(
        f"another of the {crew.size} processes has ended or cannot be reached (process {crew.rank} "
        f"was told: {said[0][:200]}). Look at what it said above, and {again}"
    )


@dataclass(frozen=True)
class Ending:
    """How a process of this launch ended that did not end well."""

    rank: int
    code: int
    """Its exit code."""
    said: str
    """Its error."""


def is_launched() -> bool:
    """Whether a launcher started several processes; nothing is joined.

    Some job systems tell how many there are and not which one this is: that is no launch.
    """
    size, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    return size.isdecimal() and rank.isdecimal() and int(size) > 1


def record_ending(code: int, said: str) -> None:
    """Leave word for the others of how this process ends, and take leave of them: whoever waits
    for it is told so at once.
    """
    with suppress(Exception):
        _board().set(f"ending/{os.environ['RANK']}", json.dumps([code, said]))
    with suppress(Exception):
        _leave()


def endings(size: int) -> list[Ending]:
    """What processes of a launch of so many left word of, by rank."""
    found = []
    with suppress(Exception):  # whoever kept the words is gone too
        board = _board()
        for rank in range(size):
            if board.check([f"ending/{rank}"]):
                code, said = json.loads(board.get(f"ending/{rank}"))
                found.append(Ending(rank, code, said))
    return found


@lru_cache(maxsize=1)
def _board() -> Any:
    """The launcher's store, where every process can leave a word."""
    from torch.distributed import PrefixStore, TCPStore

    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # What was said before torchrun --max-restarts began anew is not of now.
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"tutelage/{start}", TCPStore(*place, timeout=timedelta(seconds=5)))


@lru_cache(maxsize=1)
def _group() -> Any:
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    # Every process reads its models whole: transformers leaves them empty in all but the first.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    on_processors = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    # Starts the group of gradients as the launcher asks for it.
    PartialState(cpu=on_processors or not torch.accelerator.is_available())
    atexit.register(_leave)
    return dist.new_group(backend="gloo", timeout=_NO_LIMIT)


def _leave() -> None:
    """Take leave of the others: threads of a group that nobody ended abort a process that ends."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _cpu() -> Any:
    import torch

    return torch.device("cpu")
