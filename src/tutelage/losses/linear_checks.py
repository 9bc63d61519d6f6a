"""What must hold before the chunked loss computes anything."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ShapeMismatch
from tutelage.losses.divergence import Divergence
from tutelage.losses.table import DIVERGENCES, serves
from tutelage.losses.teacher_sides import (
    BucketTeacher,
    DenseTeacher,
    HiddenTeacher,
    SampledTeacher,
    TeacherSide,
)


def require_fit(
    hidden: Tensor,
    weight: Tensor,
    teacher: TeacherSide | None,
    labels: Tensor,
    divergence: Divergence,
    loss_temperature: float,
    soft_weight: float,
    weights: Tensor | None,
    vocabulary: int | None,
) -> None:
    """Refuse what does not fit, before anything is computed; arguments as in `linear_divergence`.

    Raises:
        ShapeMismatch: Positions, widths or vocabularies do not fit each other.
        ValueError: A weight or temperature is out of range, or the teacher's side cannot serve the
            divergence.
    """
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ShapeMismatch(
            f"states {tuple(hidden.shape)} and output matrix {tuple(weight.shape)} given; expected "
            "[P, H] and [V, H]"
        )
    lengths = {"labels": labels, "weights": weights, "teacher": teacher}
    for name, values in lengths.items():
        if values is not None and len(values) != len(hidden):
            raise ShapeMismatch(
                f"{name} speak of {len(values)} positions but there are {len(hidden)} states"
            )
    size = weight.shape[0] if vocabulary is None else vocabulary
    if size > weight.shape[0]:
        raise ShapeMismatch(
            f"the vocabulary has {size:,} ids but the output matrix only {weight.shape[0]:,} rows"
        )
    there = None
    if isinstance(teacher, HiddenTeacher):
        there = teacher.weight.shape[0]
    elif isinstance(teacher, DenseTeacher):
        there = teacher.logprobs.shape[1]
    if there is not None and (there < size or (vocabulary is None and there != size)):
        raise ShapeMismatch(
            f"the teacher speaks about {there:,} ids, the student about {size:,}. Give "
            "`vocabulary`, the ids that the "
            "tokenizer makes, if the rest is padding; otherwise the two use different tokenizers"
        )
    if not loss_temperature > 0:
        raise ValueError(f"loss_temperature={loss_temperature} given; expected a number above 0")
    if not 0 <= soft_weight <= 1:
        raise ValueError(f"soft_weight={soft_weight} given; expected a number from 0 to 1")
    if isinstance(teacher, (SampledTeacher, BucketTeacher)):
        kind, what = (
            ("sampled", "samples")
            if isinstance(teacher, SampledTeacher)
            else ("top_k", "the most likely tokens and a tail")
        )
        if not serves(kind, divergence.name, loss_temperature=loss_temperature):
            served = " and ".join(name for name in DIVERGENCES if serves(kind, name))
            raise ValueError(
                f"{divergence.name} at temperature {loss_temperature:g} cannot be had from {what}; "
                f"they serve {served} at temperature 1. Use targets of kind hidden or live"
            )
