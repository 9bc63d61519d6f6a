"""A student whose weights are shared out over processes (FSDP2): each holds some rows of every
matrix, and of the optimizer's moments, and all of a layer only while it computes with it.

In: a module to train, a state in training. Out: the same module sharded in place and, at the end,
whole again; checkpoints that every process writes its rows of (torch's distributed checkpoint, in
safetensors, without pickle), which any number of processes reads.

Source: PyTorch FSDP2 (`fully_shard`; Zhao et al. 2023, arXiv:2304.11277, for the method).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import RecipeError
from tutelage.models.output import below_adapters
from tutelage.train.state import local


def wants_sharding(accelerator: Any) -> bool:
    """Whether the launcher was told to shard (`accelerate launch --use_fsdp --fsdp_version 2`).

    Raises:
        RecipeError: It asks for the first version of FSDP.
    """
    if accelerator.num_processes == 1 or os.environ.get("ACCELERATE_USE_FSDP", "") != "true":
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise RecipeError(
            "the launcher asks for FSDP of version 1, and students are sharded with version 2: "
            "give accelerate launch --use_fsdp --fsdp_version 2"
        )
    return True


class Sharded:
    """A module whose weights are shared out; made of one that is whole, in place.

    Args:
        module: What is trained, with the same weights in every process.
        model: The student in it.
        device: Where it computes.

    Raises:
        RecipeError: Its weights are of several types.
    """

    def __init__(self, module: nn.Module, model: nn.Module, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        types = sorted({str(weight.dtype) for weight in module.parameters()})
        if len(types) > 1:
            raise RecipeError(
                f"the weights of the student are of several types ({', '.join(types)}), which "
                "FSDP2 does not shard: start without --use_fsdp"
            )
        self._module, self._model = module, model
        self._before = [
            (part, type(part), set(vars(part)), {n: dict(vars(part)[n]) for n in _HOOKS})
            for part in module.modules()
        ]
        processes = int(os.environ["WORLD_SIZE"])
        mesh = init_device_mesh(device.type, (processes,))
        # Sharded again after each use, so that what is read of the model is never a stale copy.
        for layer in _layers(module, model):
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        fully_shard(module, mesh=mesh, reshard_after_forward=True)

    def gather(self, state: Mapping[str, Tensor]) -> None:
        """Put a state into the model and make it an ordinary one again, whole in every process.

        Args:
            state: As from `state_dict`, sharded.
        """
        # Copies, for uneven rows come padded.
        whole = {name: whole_of(value).clone() for name, value in state.items()}
        places: dict[int, nn.Parameter] = {}
        named = list(self._model.named_parameters(remove_duplicate=False))
        for part, kind, known, hooks in self._before:
            part.__class__ = kind
            for name in set(vars(part)) - known:
                delattr(part, name)
            for name, were in hooks.items():
                found = vars(part)[name]
                for key in set(found) - set(were):
                    del found[key]
        for name, sharded in named:
            if id(sharded) not in places:  # tied weights stay one
                places[id(sharded)] = nn.Parameter(whole[name], requires_grad=sharded.requires_grad)
            owner, _, own = name.rpartition(".")
            setattr(self._model.get_submodule(owner), own, places[id(sharded)])
        self._model.load_state_dict(whole)


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks", "_state_dict_hooks",
          "_load_state_dict_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
          "_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs",
          "_forward_hooks_always_called", "_load_state_dict_post_hooks")  # fmt: skip


def _layers(module: nn.Module, model: nn.Module) -> list[nn.Module]:
    """The repeated layers of a model of transformers; none of one that does not name them."""
    whole = (module, model, below_adapters(model))  # a small model of ours names itself
    names = getattr(whole[-1], "_no_split_modules", None) or ()
    parts = (part for part in model.modules() if not any(part is one for one in whole))
    return [part for part in parts if type(part).__name__ in names]


def whole_of(tensor: Tensor) -> Tensor:
    """All rows of a tensor, in every process."""
    full = getattr(tensor, "full_tensor", None)
    return tensor.detach() if full is None else full().detach()


def first_not_finite(model: nn.Module, accelerator: Any) -> str | None:
    """The name of the first weight that is not finite in some process, the same in every one."""
    named = list(model.named_parameters())
    flags = torch.stack([(~torch.isfinite(local(weight))).any() for _, weight in named]).long()
    flags = accelerator.reduce(flags, reduction="sum")
    return next((name for (name, _), bad in zip(named, flags.tolist(), strict=True) if bad), None)


def write_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write what this process holds of tensors; every process calls this.

    Args:
        folder: Of the checkpoint; it is there.
        tensors: By name; what is not sharded is the same in every process.
    """
    import torch.distributed.checkpoint as dcp

    writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    found, seen = {}, set[int]()
    for name, value in tensors.items():
        place = local(value.detach()).untyped_storage().data_ptr()
        # Of tied weights each name is written, from memory of its own.
        found[name] = value.detach().clone() if place in seen else value.detach()
        seen.add(place)
    dcp.save(found, storage_writer=writer)


def read_shards(folder: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read all tensors of a checkpoint, whoever wrote it; nobody waits for another process.

    Args:
        folder: Of the checkpoint, sharded or not.
        like: Sharded tensors by name: of those each process reads its own rows, into copies. All
            others are read whole.

    Returns:
        By name.

    Raises:
        ValueError: It is a checkpoint of other weights.
    """
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    reader = dcp.HuggingFaceStorageReader(str(folder))
    found: dict[str, Any] = {}
    for name, known in reader.read_metadata().state_dict_metadata.items():
        kind: Any = known  # no objects but tensors are written
        found[name] = (
            torch.zeros_like(like[name])
            if name in like
            else torch.zeros(kind.size, dtype=kind.properties.dtype)
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no_dist.*|.*single process.*")
        try:
            dcp.load(found, storage_reader=reader, no_dist=True)
        except CheckpointException as error:  # a BaseException
            raise ValueError(f"{folder} is of other weights: {error}") from error
    return found


def sharded_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything that is sharded in a checkpoint of a sharded model, by name, for its shape."""
    named = dict(model.named_parameters())
    return {
        **{f"{part}.{name}": value for part in ("model", "best")
           for name, value in model.state_dict().items() if hasattr(value, "to_local")},
        **{f"{part}.{name}": value for part in ("optimizer.exp_avg", "optimizer.exp_avg_sq",
           "average") for name, value in named.items()},
    }  # fmt: skip
