"""How a classifier teacher is fitted: the options of each way.

In: values of a recipe. Out: frozen descriptions; importing this file imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen

from tutelage.types import Width


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """Fit a linear head on features of the frozen model."""

    method: Literal["head"] = "head"
    """How the classifier is fitted."""

    layers: Annotated[tuple[int, ...], MinLen(1)] | None = None
    """Indexes of the hidden states to read; None: a default chosen for the depth of the model."""

    pooling: Annotated[tuple[Literal["mean", "last"], ...], MinLen(1)] = ("mean", "last")
    """How the positions of a text become one vector; several are put side by side."""

    regularisation: Annotated[float, Gt(0)] | None = None
    """The strength of the penalty on the head's weights; None: chosen by cross-validation."""

    cross_fit: Annotated[int, Ge(0)] = 5
    """Folds, so that no training row is labelled by a head that saw it; 0: one head labels all
    rows."""

    calibrate: bool = True
    """Fit a temperature on rows that the head did not see."""


@dataclass(frozen=True, kw_only=True)
class LoraFit:
    """Fit low-rank additions to the model's weights, with a classification head."""

    method: Literal["lora"] = "lora"
    """How the classifier is fitted."""

    rank: Width = 8
    """The rank of each addition."""

    epochs: Annotated[int, Ge(1)] = 2
    """Passes over the labelled rows."""

    learning_rate: Annotated[float, Gt(0)] = 2e-4
    """The highest learning rate."""

    batch_size: Annotated[int, Ge(1)] = 16
    """Examples in one optimizer step."""

    cross_fit: Annotated[int, Ge(0)] = 0
    """Folds, so that no training row is labelled by a model that saw it; 0: off."""

    temperature: Literal["validation"] | None = None
    """One temperature for its logits, by the labelled validation rows: few passes leave a model
    less sure, many more sure, than it is right; None: 1, or what the folds say."""


@dataclass(frozen=True, kw_only=True)
class FullFit:
    """Fit all weights of the model, with a classification head."""

    method: Literal["full"] = "full"
    """How the classifier is fitted."""

    epochs: Annotated[int, Ge(1)] = 2
    """Passes over the labelled rows."""

    learning_rate: Annotated[float, Gt(0)] = 2e-5
    """The highest learning rate."""

    batch_size: Annotated[int, Ge(1)] = 16
    """Examples in one optimizer step."""

    temperature: Literal["validation"] | None = None
    """One temperature for its logits, by the labelled validation rows: few passes leave a model
    less sure, many more sure, than it is right; None: 1."""


@dataclass(frozen=True, kw_only=True)
class NoFit:
    """The model folder is a fitted sequence classifier, or a teacher that tutelage saved."""

    method: Literal["none"] = "none"
    """How the classifier is fitted."""
