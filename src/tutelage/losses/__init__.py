"""Losses: divergences per position, one place that averages, what students minimise, and float64
definitions.

`table` says which divergences there are, `objective` what a student minimises; both import without
torch. For classes an `Objective` and the plain functions, one named for each divergence, are
enough. For language models `linear_divergence` takes final states and the output matrix and never
holds tokens x vocabulary. Names are resolved when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.losses.table import DIVERGENCES, forms

if TYPE_CHECKING:
    from tutelage.losses.linear import LinearLoss, linear_divergence, linear_logits
    from tutelage.losses.objective import ForwardKL, Objective
    from tutelage.losses.plain import (
        IGNORED_LABEL,
        hard_cross_entropy,
        hidden_matching,
        reduce,
        soft_cross_entropy,
    )
    from tutelage.losses.table import Divergence
    from tutelage.losses.teacher_sides import (
        BucketTeacher,
        DenseTeacher,
        HiddenTeacher,
        SampledTeacher,
        TeacherSide,
    )

__all__ = [
    "IGNORED_LABEL",
    "BucketTeacher",
    "DenseTeacher",
    "Divergence",
    "ForwardKL",
    "HiddenTeacher",
    "LinearLoss",
    "Objective",
    "SampledTeacher",
    "TeacherSide",
    "hard_cross_entropy",
    "hidden_matching",
    "linear_divergence",
    "linear_logits",
    "reduce",
    "soft_cross_entropy",
]
__all__ += list(DIVERGENCES)  # pyright: ignore[reportUnsupportedDunderAll]

_NAMES = {
    "IGNORED_LABEL": "plain",
    "BucketTeacher": "teacher_sides",
    "DenseTeacher": "teacher_sides",
    "Divergence": "table",
    "ForwardKL": "objective",
    "HiddenTeacher": "teacher_sides",
    "LinearLoss": "linear",
    "Objective": "objective",
    "SampledTeacher": "teacher_sides",
    "TeacherSide": "teacher_sides",
    "hard_cross_entropy": "plain",
    "hidden_matching": "plain",
    "linear_divergence": "linear",
    "linear_logits": "linear",
    "reduce": "plain",
    "soft_cross_entropy": "plain",
}


def __getattr__(name: str) -> Any:
    """A public name of this room, imported when it is first asked for."""
    if name in _NAMES:
        value = getattr(importlib.import_module(f"tutelage.losses.{_NAMES[name]}"), name)
    elif name in DIVERGENCES:
        value = forms(name).dense
    else:
        raise AttributeError(
            f"module 'tutelage.losses' has no attribute {name!r}; names: {', '.join(__all__)}"
        )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, with what the module holds anyway."""
    return sorted({*globals(), *__all__})
