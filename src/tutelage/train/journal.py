"""What a run leaves on disk while it trains: metrics.jsonl, TensorBoard events and checkpoints.

A checkpoint is a folder `step-NNNNNNNN`: `tensors.safetensors` (weights, optimizer moments, moving
average, best weights, random state) and `state.json` (counters, the checksum of the tensors, and
one of its own). It is in safe formats, written under a temporary name, synced and renamed, so whole
or not there; the newest two are kept, and one that was damaged since is passed over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tutelage.errors import RunDamaged, StorageError
from tutelage.processes import crew
from tutelage.runs import (
    MetricsLog,
    atomic_write_json,
    fingerprint,
    settle_folder,
    storing,
    sync_folder,
)
from tutelage.runs.contents import damages, sums_of
from tutelage.runs.files import remove_unfinished
from tutelage.train.sharded import read_shards, sharded_tensors, write_shards
from tutelage.train.state import TrainingState, random_state

KEPT = 2
FORMAT = 1
"""Of a checkpoint; its state names it only where it is another."""
WHOLE = "tensors.safetensors"
_PREFIX = "step-"
_UNFINISHED = ".writing"


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and remove all but the newest two.

    A kill at any moment leaves the checkpoints there were before, or these and the new one.

    Args:
        folder: `checkpoints/` of a student.
        step: Optimizer steps done.
        tensors: By name; storage shared by two names is written twice.
        state: JSON values; numbers must be finite.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: The file system refuses; the checkpoints that there were are still there.
    """
    content = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with storing(folder):
        save_file(content, _begin(folder) / WHOLE)
        return _finish(folder, step, state)


def _begin(folder: Path) -> Path:
    """An empty folder for the files of a checkpoint."""
    temporary = folder / _UNFINISHED
    shutil.rmtree(temporary, ignore_errors=True)  # what a kill has left
    temporary.mkdir(parents=True)
    return temporary


def _finish(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Make a checkpoint of the files that are written, and remove old ones."""
    target, temporary = folder / f"{_PREFIX}{step:08d}", folder / _UNFINISHED
    with storing(folder):
        files = sorted(temporary.glob("*.safetensors"))
        record = json.loads(json.dumps(dict(state) | {"files": sums_of(temporary, files)}))
        atomic_write_json(temporary / "state.json", record | {"sum": fingerprint(record)})
        settle_folder(temporary)
        if target.exists():  # only a damaged one is ever written again
            shutil.rmtree(target)
        temporary.replace(target)
        sync_folder(folder)
        for old in _found(folder)[:-KEPT]:
            shutil.rmtree(old)
    return target


def read_newest(
    folder: Path,
    like: Mapping[str, Tensor] = MappingProxyType({}),
    *,
    identity: str | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint that is what was written; None if there is
    none.

    Args:
        folder: `checkpoints/` of a student.
        like: Tensors that are sharded, by name: see `sharded.read_shards`.
        identity: Of the run; of a checkpoint of another one no tensors are read. None: of any.

    Raises:
        RunDamaged: A later version wrote it.
    """
    for path in reversed(_found(folder)):
        try:
            state = json.loads((path / "state.json").read_text("utf-8"))
            _require_known(path, state)
            if "files" in state or "sum" in state:  # those of earlier versions have neither
                told = state.pop("sum", None)
                if told != fingerprint(state) or damages(path, state.pop("files")):
                    continue  # damaged: the one before it is as good, only older
            if identity is not None and state.get("identity") != identity:
                return {}, state
            if (path / WHOLE).exists() and not like:
                return load_file(path / WHOLE), state
            return read_shards(path, like), state
        except RunDamaged:
            raise
        except (OSError, ValueError, TypeError, KeyError, RecursionError, SafetensorError):
            continue
    return None


def _require_known(path: Path, state: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of a later version: beginning anew would remove it."""
    found = state.get("format", FORMAT)
    if isinstance(found, int) and found > FORMAT:
        raise RunDamaged(
            f"{path} is a checkpoint of format {found}, and this version of tutelage reads format "
            f"{FORMAT}. Use the version that wrote it, or remove the folder {path.parent} to train "
            "anew"
        )


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))


class Journal:
    """The folder of one run; only the first process writes there, but for its rows of a sharded
    checkpoint.

    Records are on disk before the checkpoint of their step is, and a resume drops those beyond its
    checkpoint: so a killed run leaves the same metrics.jsonl as one that was not.
    """

    def __init__(
        self, out: Path, accelerator: Any, *, identity: str, is_sharded: bool = False
    ) -> None:
        """Of a run with this identity in `out`, whose weights are perhaps shared out over
        processes; nothing is read or written yet.
        """
        self._is_sharded = is_sharded
        self.checkpoints = out / "checkpoints"
        self._events = out / "tensorboard"
        self._log = MetricsLog(out / "metrics.jsonl")
        self._accelerator = accelerator
        self._identity = identity
        self._tracking = False

    def open(self, state: TrainingState, *, total: int) -> str | None:
        """Put the newest checkpoint of this very run into `state`, else begin with an empty folder.

        Args:
            state: Before its first step.
            total: Steps of the whole run, for what is said.

        Returns:
            What there is to say about it; None where no checkpoint lay there.
        """
        with storing(self._log.path.parent):
            return self._open(state, total)

    def _open(self, state: TrainingState, total: int) -> str | None:
        found = read_newest(
            self.checkpoints,
            sharded_tensors(state.model) if self._is_sharded else {},
            identity=self._identity,
        )
        resumed = found is not None and found[1].get("identity") == self._identity
        if found is not None and resumed:
            state.restore(found[0], found[1]["counters"], process=self._accelerator.process_index)
        # Nobody may still be reading what is removed now.
        steps = crew().gathered(state.counters.step)
        if len(set(steps)) > 1:
            raise StorageError(
                f"the processes read checkpoints of steps {', '.join(map(str, steps))} in "
                f"{self.checkpoints}: every process needs the same files, for instance on a disk "
                "that all machines share"
            )
        if self._accelerator.is_main_process:
            remove_unfinished(self._log.path.parent)  # of processes that were killed here
            if not resumed:
                shutil.rmtree(self.checkpoints, ignore_errors=True)
                shutil.rmtree(self._events, ignore_errors=True)
                self._log.path.unlink(missing_ok=True)
            self._log.truncate_after(state.counters.step)
        # Does nothing where TensorBoard is not installed. Events beyond the checkpoint are struck
        # out there too.
        self._accelerator.init_trackers(
            self._events.name, init_kwargs={"tensorboard": {"purge_step": state.counters.step + 1}}
        )
        self._tracking = True  # one that Ctrl-C has kept from starting cannot be finished
        if found is None:
            return None
        if resumed:
            return f"going on from step {state.counters.step} of {total}"
        return (
            f"begins anew, for the checkpoint of step {found[1]['counters']['step']} that lay here "
            "was of other data, "
            "settings or first weights"
        )

    def record(self, state: TrainingState, **values: float | None) -> None:
        """One line of metrics.jsonl, and the same for TensorBoard."""
        step, epoch = state.counters.step, state.epochs_done
        if self._accelerator.is_main_process:
            self._log.append({"step": step, "epoch": round(epoch, 4), **values})
        with storing(self._events):
            self._accelerator.log(
                {name: value for name, value in values.items() if value is not None}, step=step
            )

    def checkpoint(self, state: TrainingState) -> None:
        """Write all that a resume needs. Every process calls this, for each has its own random
        state.
        """
        states = random_state(self._accelerator.device)[None]
        if self._accelerator.num_processes > 1:
            states = self._accelerator.gather(states.to(self._accelerator.device))
        values = {"identity": self._identity, "counters": state.values()}
        if self._is_sharded:
            self._checkpoint_in_shards(state, states.to(torch.uint8), values)
        elif self._accelerator.is_main_process:
            write_checkpoint(
                self.checkpoints, state.counters.step, state.tensors(states.to(torch.uint8)), values
            )

    def _checkpoint_in_shards(
        self, state: TrainingState, random_states: Tensor, values: Mapping[str, Any]
    ) -> None:
        """Every process writes what it holds; the first one makes a checkpoint of it."""
        tensors = state.tensors(random_states)
        tensors["costs"] = self._accelerator.reduce(tensors["costs"], reduction="sum")
        leads = self._accelerator.is_main_process
        with storing(self.checkpoints):
            if leads:
                _begin(self.checkpoints)
            self._accelerator.wait_for_everyone()
            write_shards(self.checkpoints / _UNFINISHED, tensors)
            self._accelerator.wait_for_everyone()
            if leads:
                _finish(self.checkpoints, state.counters.step, values)

    def close(self) -> None:
        """Finish the trackers that were begun.

        Not `end_training`, which also ends the process group that the next student still needs.
        """
        if self._tracking:
            with storing(self._events):
                for tracker in self._accelerator.trackers:
                    tracker.finish()
