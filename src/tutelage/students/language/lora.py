"""Low-rank adapters on a student that exists already: their options, which every kind of language
model has, and the stock model that remains of them.

In: a causal language model. Out: the same model, of whose weights only small additions are trained;
later the model with the additions in its weights. Importing this file imports no torch. Classifiers
get theirs in `classifier.partial`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, cast

from annotated_types import Gt

from tutelage.config.ranges import check_options
from tutelage.errors import ModelError
from tutelage.types import Width


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Train low-rank additions to the weights only, and add them to the weights at the end."""

    rank: Width = 16
    """The rank of each addition."""

    alpha: Annotated[float, Gt(0)] = 32
    """The scale of the additions, divided by the rank."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class Adaptable:
    """The option of every student; what else all of them have, they have by `LanguageStudent`."""

    lora: Lora | None = None
    """Train low-rank additions only; None: all weights."""

    def __post_init__(self) -> None:
        check_options(self)


def add_lora(model: Any, *, rank: int = Lora.rank, alpha: float = Lora.alpha, seed: int = 0) -> Any:
    """Freeze a model and put low-rank adapters beside all its linear layers but the output matrix.

    Args:
        model: A causal language model of transformers; its layers are wrapped in place.
        rank: As in `Lora`.
        alpha: As in `Lora`.
        seed: Of the random half of the adapters; the other half is zero, so nothing changes at
            first. The global random state is left as it was.

    Returns:
        A model of peft around the one given, in training mode.

    Raises:
        ModelError: The model is recurrent.

    Source: Hu et al. 2021 (arXiv:2106.09685); on all linear layers, which Dettmers et al. 2023
        (arXiv:2305.14314, section 4) found to matter more than the rank.
    """
    from tutelage.models.output import TellsStates

    if isinstance(model, TellsStates):
        raise ModelError(
            f"{type(model).__name__} keeps its weights in recurrent cells, which take no adapters: "
            "train all of it (remove lora from this student)"
        )
    return wrapped(
        model,
        rank=rank,
        alpha=alpha,
        seed=seed,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    ).train()


def wrapped(model: Any, *, rank: int, alpha: float, seed: int, **options: Any) -> Any:
    """A model of peft around another one, all of whose own weights are frozen.

    Args:
        model: Of transformers.
        rank: As in `Lora`.
        alpha: As in `Lora`.
        seed: Of the random half of the adapters.
        **options: Of peft's `LoraConfig`: where adapters go.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=rank,
        lora_alpha=cast("int", alpha),  # only ever divided by the rank
        lora_dropout=0.0,
        **options,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft reads a property that transformers has renamed, and tells that it has noticed layers
        # that are stored the other way round; nobody here can act on it.
        for known in (".*is_gradient_checkpointing.*", ".*fan_in_fan_out.*"):
            warnings.filterwarnings("ignore", message=known)
        torch.manual_seed(seed)
        return get_peft_model(model, settings)


def merge_lora(model: Any) -> Any:
    """The stock model with the adapters added to its weights, all of them trainable again.

    Args:
        model: From `add_lora`; not usable afterwards. A model without adapters is returned as it
            is.

    Returns:
        The model that the adapters were put on.
    """
    from tutelage.models.output import Adapted

    if not isinstance(model, Adapted):
        return model
    return cast(Any, model).merge_and_unload().requires_grad_(True)
