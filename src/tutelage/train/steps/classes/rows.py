"""Which rows a run learns from and is validated on, with and without a teacher."""

from __future__ import annotations

from tutelage.data.collate import EncodedSet
from tutelage.errors import DataError


def training_rows(encoded: EncodedSet, *, use_teacher: bool) -> EncodedSet:
    """The rows that can teach something: all with a teacher, the labelled ones without.

    Raises:
        DataError: There is none.
    """
    if not len(encoded):
        raise DataError("no row to learn from given; expected at least one")
    if use_teacher:
        if encoded.teacher_probs is None:
            raise DataError(
                "the training rows carry no soft targets: label them first, or train with "
                "use_teacher=False"
            )
        return encoded
    if not len(encoded.labelled):
        raise DataError(
            f"none of the {len(encoded)} training rows has a label, and a control learns from "
            "labels alone: "
            "give labelled rows, or leave the control out"
        )
    return encoded.without_teacher().select(encoded.labelled)


def validation_rows(encoded: EncodedSet, *, use_teacher: bool) -> EncodedSet:
    """The rows that a loss can be measured on: all where there are soft targets, else the labelled
    ones.

    Raises:
        DataError: There is none.
    """
    if use_teacher and encoded.teacher_probs is not None and len(encoded):
        return encoded
    if not len(encoded.labelled):
        missing = "neither labels nor soft targets" if use_teacher else "no labels"
        raise DataError(
            f"the {len(encoded)} validation rows have {missing}, so they cannot tell "
            "which epoch is best: give labelled rows"
        )
    return encoded.without_teacher().select(encoded.labelled)
