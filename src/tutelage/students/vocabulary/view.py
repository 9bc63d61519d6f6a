"""A student with fewer tokens, as if it read and wrote those of its teacher.

In: the two tokenizers, of which one was trimmed from the other, and a model over the trimmed
vocabulary. Out: a table in both directions, and something that is asked in the teacher's ids like
any other student. A token that was taken out is spelled in pieces that say the same bytes when it
is read, and has the probability zero when it is to be written: as one token the student never
writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.final_states import final_states
from tutelage.models.output import OutputLayer, output_layer
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


class TeacherView:
    """Answers `final_states`, `output_layer`, `generate` and forward calls in the teacher's ids.

    Everything else is asked of the model itself: its parameters, its mode, its device.

    Args:
        model: A causal language model whose vocabulary was trimmed, as `load_language_student`
            gives it.
        vocabulary: Between the teacher's tokens and its own.
        teacher_vocabulary: How many ids the teacher's tokenizer makes.
    """

    def __init__(self, model: Any, vocabulary: VocabularyMap, *, teacher_vocabulary: int) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.teacher_vocabulary = teacher_vocabulary

    def __getattr__(self, name: str) -> Any:
        """What is not about ids is the model's own."""
        if name in ("model", "vocabulary"):  # before __init__ is done, while copying
            raise AttributeError(name)
        return getattr(self.model, name)

    @cached_property
    def kept(self) -> Tensor:
        """The teacher's id of every token of the student, int64 [S]."""
        return torch.from_numpy(self.vocabulary.kept).to(self.model.device)

    def eval(self) -> TeacherView:
        """As of any module."""
        return self.train(False)

    def train(self, mode: bool = True) -> TeacherView:
        """As of any module."""
        self.model.train(mode)
        return self

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """What predicts the token after each of the teacher's tokens: the state behind its last
        piece.

        Args:
            input_ids: The teacher's ids, int [B, T], a document a row, padded on the right if at
                all.

        Returns:
            [B, T, H].
        """
        rows = [self.vocabulary.spell(row) for row in input_ids.cpu().numpy()]
        states = final_states(self.model, self._padded(rows))
        ends = torch.from_numpy(np.stack([row.ends for row in rows])).to(states.device)
        return states.gather(1, ends[:, :, None].expand(-1, -1, states.shape[-1]))

    def output_layer(self) -> OutputLayer:
        """As of any student: the matrix [V, H] has a row for each of the teacher's tokens.

        Those that were taken out have a bias of minus infinity, of which a soft cap makes the
        lowest logit that there is; `logits` is exact.
        """
        own = output_layer(self.model)
        weight = own.weight.new_zeros(self.teacher_vocabulary, own.weight.shape[1])
        weight[self.kept] = own.weight.detach()
        bias = torch.full(
            (self.teacher_vocabulary,), -torch.inf, dtype=weight.dtype, device=weight.device
        )
        bias[self.kept] = 0.0 if own.bias is None else own.bias.detach()
        return OutputLayer(weight, bias, own.scale, own.cap)

    def logits(self, states: Tensor) -> Tensor:
        """Logits over the teacher's vocabulary, float32 [P, V], minus infinity where the student
        has no such token.

        Args:
            states: From `hidden_states`, [P, H].
        """
        return self._laid_out(output_layer(self.model).logits(states))

    @torch.no_grad()
    def spelled_nats(self, document: Document) -> dict[int, float]:
        """What the trained tokens that were taken out cost when they are spelled.

        Args:
            document: In the teacher's ids.

        Returns:
            By place among the document's P trained tokens, the negative log-probability of all
            pieces of the token, in nats. The student could spell the text in other ways, too, so
            this is at least what the text costs.
        """
        places = np.flatnonzero(document.trained)
        gone = np.flatnonzero(self.vocabulary.new_ids[document.token_ids[places]] == GONE).tolist()
        if not gone:
            return {}
        spelled = self.vocabulary.spell(document.token_ids)
        states = final_states(self.model, self._padded([spelled]))[0]
        own, found = output_layer(self.model), {}
        for place in gone:
            token = int(places[place])
            rows = np.arange(int(spelled.starts[token]), int(spelled.ends[token]) + 1)
            labels = torch.from_numpy(spelled.ids[rows]).to(states.device)
            logprobs = torch.log_softmax(
                own.logits(states[torch.from_numpy(rows - 1).to(states.device)]), dim=-1
            )
            found[place] = float(-logprobs.gather(-1, labels[:, None]).double().sum())
        return found

    def __call__(self, *, input_ids: Tensor, **settings: Any) -> Any:
        """The model's answer to one row of the teacher's ids, its logits laid out over the
        teacher's vocabulary.
        """
        answer = self.model(input_ids=self._one_row(input_ids), **settings)
        answer.logits = self._laid_out(answer.logits)
        return answer

    def generate(
        self, *, input_ids: Tensor, attention_mask: Tensor | None = None, **settings: Any
    ) -> Tensor:
        """Continue one row of the teacher's ids.

        Args:
            input_ids: [1, T].
            attention_mask: Only ever ones, for there is one row.
            **settings: As transformers takes them; token ids among them are the teacher's.

        Returns:
            The teacher's ids [1, T + N]: those given, and what was written.
        """
        del attention_mask
        prompt = self._one_row(input_ids)
        own = {
            name: self._own_id(value) if name.endswith("_token_id") else value
            for name, value in settings.items()
        }
        written = self.model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), **own
        )
        return torch.cat(
            [input_ids, self.kept[written[:, prompt.shape[1] :]].to(input_ids.device)], dim=1
        )

    def _laid_out(self, logits: Tensor) -> Tensor:
        whole = logits.new_full((*logits.shape[:-1], self.teacher_vocabulary), -torch.inf)
        return whole.index_copy_(-1, self.kept, logits)

    def _own_id(self, value: Any) -> Any:
        return None if value is None else int(self.vocabulary.pieces(int(value))[0])

    def _one_row(self, input_ids: Tensor) -> Tensor:
        if len(input_ids) != 1:
            raise ValueError(
                f"{len(input_ids)} rows given; a trimmed student spells one row at a time"
            )
        return self._padded([self.vocabulary.spell(input_ids[0].cpu().numpy())])

    def _padded(self, rows: Sequence[Spelled]) -> Tensor:
        """The student's ids [B, U], padded on the right, where nothing sees the padding."""
        width = max(len(row.ids) for row in rows)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = row.ids
        return torch.from_numpy(ids).to(self.model.device)
