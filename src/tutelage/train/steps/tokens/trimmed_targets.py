"""Soft targets for a student that has only some of the teacher's tokens.

In: a source of soft targets over the whole vocabulary. Out: one over the student's, for documents
in the student's ids. The teacher's distribution is taken over the tokens that stay,
`p(v) / sum of p over them`, which is exactly what the teacher would say were its own vocabulary
trimmed: logits of tokens that stay do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tutelage.errors import TargetsMismatch
from tutelage.losses import HiddenTeacher, TeacherSide
from tutelage.runs import fingerprint
from tutelage.students import VocabularyMap
from tutelage.train.steps.tokens.targets import TargetSource
from tutelage.types import Document


class TrimmedTargets:
    """A source of soft targets, seen by a student with fewer tokens.

    Only whole distributions can be narrowed like this. Of a sample the sum over the tokens that
    stay is itself a random number, and dividing by it is biased; of the most likely tokens it is
    not known at all.

    Args:
        source: Speaks about the teacher's vocabulary.
        vocabulary: Which of its tokens the student has.
    """

    def __init__(self, source: TargetSource, vocabulary: VocabularyMap) -> None:
        self.source = source
        self.vocabulary = vocabulary
        self._cut: tuple[Tensor, Tensor, Tensor | None] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the source and of the tokens that stay."""
        return fingerprint("trimmed targets", self.source.fingerprint, self.vocabulary.kept)

    def require(self, documents: Sequence[Document]) -> None:
        """Make sure that there will be an answer for each document.

        Raises:
            TargetsIncomplete: There is none for some.
        """
        self.source.require([self.vocabulary.teachers_document(document) for document in documents])

    def teacher_side(self, documents: Sequence[Document], device: torch.device) -> TeacherSide:
        """The teacher's distributions over the student's tokens.

        Raises:
            TargetsMismatch: The source holds no whole distributions.
        """
        originals = [self.vocabulary.teachers_document(document) for document in documents]
        found = self.source.teacher_side(originals, device)
        if not isinstance(found, HiddenTeacher):
            raise TargetsMismatch(
                "these targets hold no whole distributions, so they cannot be narrowed to the "
                "tokens of a student with "
                "a trimmed vocabulary: use targets of kind hidden or live, or vocabulary: full"
            )
        weight, bias = self._rows(found)
        return replace(found, weight=weight, bias=bias)

    def _rows(self, found: HiddenTeacher) -> tuple[Tensor, Tensor | None]:
        """The rows of the output matrix that stay; cut once, since sources give the same matrix
        every time.
        """
        if self._cut is None or self._cut[0].data_ptr() != found.weight.data_ptr():
            kept = torch.from_numpy(self.vocabulary.kept).to(found.weight.device)
            bias = None if found.bias is None else found.bias.index_select(0, kept)
            self._cut = (found.weight, found.weight.index_select(0, kept), bias)
        return self._cut[1], self._cut[2]
