"""The teacher's tokens in those of a student that has fewer: the same where it has them, else
spelled in pieces.

In: the two tokenizers, of which one was trimmed from the other. Out: a table in both directions,
and texts of the teacher's ids as texts of the student's. What is spelled says the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.students.vocabulary.cutting import GONE
from tutelage.types import Document

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Spelled:
    """A text of U tokens of the student that stands for T tokens of the teacher."""

    ids: Ids
    """The student's tokens, [U]."""
    starts: Ids
    """Where each of the teacher's tokens begins among them, [T]."""

    @property
    def ends(self) -> Ids:
        """Where the last piece of each of the teacher's tokens is, [T]."""
        return np.append(self.starts[1:], len(self.ids)) - 1


class VocabularyMap:
    """A teacher's vocabulary beside that of a student trimmed from it.

    Args:
        teacher_tokenizer: The whole one, a fast tokenizer of transformers.
        student_tokenizer: What `trim_vocabulary` left of it.

    Raises:
        ModelError: The student has a token that the teacher lacks.

    Example:
        >>> spelled = VocabularyMap(teacher_tokenizer, student_tokenizer).spell([12, 40_000])  #
        doctest: +SKIP
        >>> spelled.starts.tolist(), len(spelled.ids)  # doctest: +SKIP
        ([0, 1], 4)
    """

    def __init__(self, teacher_tokenizer: Any, student_tokenizer: Any) -> None:
        theirs, ours = teacher_tokenizer.get_vocab(), student_tokenizer.get_vocab()
        strange = sorted(token for token in ours if token not in theirs)
        if strange:
            raise ModelError(
                f"the student has the token {strange[0]!r}, which the teacher lacks: give the "
                "teacher whose vocabulary "
                "was trimmed"
            )
        self.kept: Ids = np.full(len(ours), GONE, dtype=np.int64)
        """The teacher's id of every token of the student, [S]."""
        for token, index in ours.items():
            self.kept[index] = theirs[token]
        self.new_ids: Ids = np.full(max(theirs.values()) + 1, GONE, dtype=np.int64)
        """The student's id of every token of the teacher, -1 where it has none, [V]."""
        self.new_ids[self.kept] = np.arange(len(self.kept))
        self._names = {index: token for token, index in theirs.items()}
        self._model = student_tokenizer.backend_tokenizer.model
        self._pieces: dict[int, Ids] = {}

    def has_all(self, ids: Sequence[int] | NDArray[Any]) -> bool:
        """Whether the student has every one of some of the teacher's tokens."""
        return bool((self.new_ids[np.asarray(ids, dtype=np.int64)] != GONE).all())

    def pieces(self, index: int) -> Ids:
        """The student's ids that spell one of the teacher's tokens; one where it has the token
        itself.
        """
        if self.new_ids[index] != GONE:
            return self.new_ids[index : index + 1]
        if index not in self._pieces:
            # A token is what byte-pair encoding is given after all normalising, so it is spelled by
            # its merges alone.
            found = [piece.id for piece in self._model.tokenize(self._names[index])]
            self._pieces[index] = np.array(found, dtype=np.int64)
        return self._pieces[index]

    def spell(self, ids: Sequence[int] | NDArray[Any]) -> Spelled:
        """A text of the teacher's tokens in the student's."""
        given = np.asarray(ids, dtype=np.int64)
        found = self.new_ids[given]
        if (found != GONE).all():
            return Spelled(found, np.arange(len(given)))
        parts = [self.pieces(int(index)) for index in given]
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        return Spelled(np.concatenate(parts), np.cumsum(lengths) - lengths)

    def document(self, document: Document) -> Document:
        """A document whose tokens the student has all of, in the student's ids.

        Raises:
            ModelError: It lacks one; the document is named.
        """
        new = self.new_ids[document.token_ids]
        if (new == GONE).any():
            raise ModelError(
                f"{document.source or 'a document'} row {document.row} uses a token that was taken "
                "out of the "
                "vocabulary: trim it to all documents that are trained or validated on"
            )
        return replace(document, token_ids=new.astype(np.int32))

    def teachers_document(self, document: Document) -> Document:
        """The way back: a document in the student's ids as the teacher read it, under the id it was
        labelled by.
        """
        return replace(document, token_ids=self.kept[document.token_ids].astype(np.int32))
