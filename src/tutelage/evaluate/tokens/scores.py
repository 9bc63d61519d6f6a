"""What language models say about every token of held-out documents, and how far that is from their
teacher.

In: a teacher, models, documents. Out: a few numbers for each trained token and model. Whole
distributions are compared a chunk at a time, so nothing of size tokens x vocabulary is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.data.documents.packing import collate_packed
from tutelage.models.computing import length_batches
from tutelage.models.final_states import final_states
from tutelage.models.output import output_layer
from tutelage.processes import ALONE, Crew
from tutelage.students import TeacherView
from tutelage.teachers.teacher import HiddenStates, device_of
from tutelage.types import SILENT, Document, Progress

Values = NDArray[np.float64]

LOGITS_AT_ONCE = 2**24
"""Elements of one chunk of logits: 64 MB in float32."""


@dataclass(frozen=True, eq=False)
class TokenScores:
    """What one model said about every trained token of the test documents, in order."""

    nats: Values
    """Negative log-probability of the token that stands there, [P]."""
    confidence: Values
    """Probability of the model's own first choice, [P]."""
    correct: Values
    """1 where that choice is the token that stands there, [P]."""
    kl: Values | None = None
    """KL(teacher || model) in nats, [P]; None for the teacher itself."""
    agreement: Values | None = None
    """1 where the first choice is the teacher's, [P]."""
    acceptance: Values | None = None
    """Sum over tokens of min(teacher, model), [P]: how often speculative decoding would accept the
    model's draft."""
    kept_mass: Values | None = None
    """Of a model with a trimmed vocabulary, what the teacher gives the tokens that it has, [P];
    None: it has all. Its `kl` is then the distance from the teacher over these tokens alone; all
    other numbers are about all tokens."""


@torch.no_grad()
def score_models(
    teacher: HiddenStates | None,
    models: Mapping[str, Any],
    documents: Sequence[Document],
    *,
    vocabulary: int | None = None,
    batch_tokens: int = 4096,
    logits_at_once: int = LOGITS_AT_ONCE,
    mine: Crew = ALONE,
    progress: Progress = SILENT,
) -> dict[str, TokenScores]:
    """Let the teacher and every model read the documents, each document alone.

    Args:
        teacher: Its distribution is what others are compared with; listed in the result as `""`.
            None: there is none here, and nobody is compared.
        models: Causal language models of the students room over the teacher's vocabulary, by name;
            those with a trimmed one as `TeacherView`.
        documents: Held-out documents.
        vocabulary: How many tokens there are, where no teacher tells.
        batch_tokens: Tokens read at once.
        logits_at_once: Elements of one chunk of logits.
        mine: This process and those that call this with the same arguments: each reads its share
            of the batches, which are those of one process, and all get all scores.
        progress: Shows how far it is.

    Returns:
        Scores by name over all trained tokens, document after document in the order given. Whole
        distributions are compared a chunk at a time, so nothing of size tokens x vocabulary is
        held.
    """
    positions = [document.positions for document in documents]
    starts = np.concatenate([[0], np.cumsum(positions)]).astype(np.int64)
    found = {} if teacher is None else {"": _Gathered(int(starts[-1]))}
    found |= {
        name: _Gathered(int(starts[-1]), compared=teacher is not None, view=view_of(model))
        for name, model in models.items()
    }
    readable = np.flatnonzero(positions).tolist()
    planned = length_batches(
        [len(documents[index].token_ids) for index in readable],
        batch_tokens=batch_tokens,
        device=torch.device("cpu") if teacher is None else device_of(teacher),
    )
    batches = mine.share([[readable[place] for place in batch] for batch in planned])
    own = sum(positions[index] for batch in batches for index in batch)
    was_training = {name: model.training for name, model in models.items()}
    for model in models.values():
        model.eval()
    if teacher is not None:
        vocabulary = teacher.vocabulary
    assert vocabulary is not None  # where there is no teacher, somebody says it
    with progress.bar("Reading the test documents", total=own, unit="tokens") as advance:
        for indexes in batches:
            batch = [documents[index] for index in indexes]
            packed = collate_packed(batch, [[place] for place in range(len(batch))], pad_id=0)
            places = np.concatenate(
                [np.arange(starts[index], starts[index + 1]) for index in indexes]
            )
            teacher_states = None if teacher is None else torch.cat(teacher.hidden_states(batch))
            states = {
                name: final_states(
                    model,
                    packed.input_ids.to(model.device),
                    packed.position_ids.to(model.device),
                    packed.segments.to(model.device),
                ).flatten(0, 1)[packed.positions.to(model.device)]
                for name, model in models.items()
            }
            width = vocabulary if teacher is None else teacher.head.weight.shape[0]
            most = max(1, logits_at_once // width)
            rows = -(
                -len(places) // -(-len(places) // most)
            )  # of equal chunks: a short one is multiplied slowly
            for start in range(0, len(places), rows):
                chunk = slice(start, start + rows)
                labels, spoken = packed.labels[chunk], None
                if teacher is not None and teacher_states is not None:
                    said = _logprobs(teacher.logits(teacher_states[chunk]), vocabulary)
                    found[""].put(places[chunk], said, labels.to(said.device))
                    spoken = _Spoken(said, said.exp(), said.argmax(dim=-1))
                for name, model in models.items():
                    logits = _logits(model, states[name][chunk])
                    logprobs = _logprobs(logits, vocabulary)
                    if spoken is not None:
                        logprobs = logprobs.to(spoken.logprobs.device)
                    found[name].put(places[chunk], logprobs, labels.to(logprobs.device), spoken)
            for gathered in found.values():
                for index, document in zip(indexes, batch, strict=True):
                    gathered.spell(document, start=int(starts[index]))
            advance(len(places))
    for name, model in models.items():
        model.train(was_training[name])
    if mine.size > 1:
        read = np.zeros(int(starts[-1]), dtype=bool)
        for index in (index for batch in batches for index in batch):
            read[starts[index] : starts[index + 1]] = True
        places = np.flatnonzero(read)
        told = mine.gathered((places, {name: one.at(places) for name, one in found.items()}))
        for places, values in told:
            for name, one in found.items():
                one.take(places, values[name])
    return {name: gathered.scores() for name, gathered in found.items()}


@dataclass(frozen=True, eq=False)
class _Spoken:
    """What the teacher says about a chunk, which every model is compared with."""

    logprobs: torch.Tensor
    """[C, V]."""
    probs: torch.Tensor
    """[C, V]."""
    choice: torch.Tensor
    """Its most likely tokens, [C]."""


class _Gathered:
    """Scores of one model while they come in, chunk by chunk in any order."""

    def __init__(
        self, positions: int, *, compared: bool = False, view: TeacherView | None = None
    ) -> None:
        names = [
            "nats",
            "confidence",
            "correct",
            *(["kl", "agreement", "acceptance"] if compared else []),
        ]
        names += [] if view is None else ["kept_mass"]
        self._values = {name: np.full(positions, np.nan) for name in names}
        self._view = view

    def put(
        self,
        places: NDArray[np.int64],
        logprobs: torch.Tensor,
        labels: torch.Tensor,
        teacher: _Spoken | None = None,
    ) -> None:
        """Take a chunk: log-probabilities [C, V] of the model, the tokens that stand there, what
        the teacher said.
        """
        best, choice = logprobs.max(dim=-1)
        found = {
            "nats": -logprobs.gather(-1, labels[:, None])[:, 0],
            "confidence": best.exp(),
            "correct": choice == labels,
        }
        if teacher is not None:
            teacher_logprobs, probs = teacher.logprobs, teacher.probs
            found["acceptance"] = torch.minimum(probs, logprobs.exp()).sum(-1)
            found["agreement"] = choice == teacher.choice
            if self._view is not None:
                # What was taken out has the probability zero, which is infinitely far: compare over
                # the rest, and say how much that is.
                found["kept_mass"] = probs[:, self._view.kept].sum(-1)
                teacher_logprobs = torch.log_softmax(teacher_logprobs[:, self._view.kept], dim=-1)
                probs, logprobs = teacher_logprobs.exp(), logprobs[:, self._view.kept]
            found["kl"] = (probs * (teacher_logprobs - logprobs)).sum(-1)
        for name, values in found.items():
            self._values[name][places] = values.double().cpu().numpy()

    def spell(self, document: Document, *, start: int) -> None:
        """Put in what tokens cost that the model does not have and spells in pieces."""
        if self._view is not None:
            for place, nats in self._view.spelled_nats(document).items():
                self._values["nats"][start + place] = nats

    def at(self, places: NDArray[np.int64]) -> dict[str, Values]:
        """What is known at some places."""
        return {name: values[places] for name, values in self._values.items()}

    def take(self, places: NDArray[np.int64], values: Mapping[str, Values]) -> None:
        """Take what another process knows."""
        for name, found in values.items():
            self._values[name][places] = found

    def scores(self) -> TokenScores:
        """All of them."""
        return TokenScores(**self._values)


def view_of(model: Any) -> TeacherView | None:
    """What a model with a trimmed vocabulary is seen through; None where it has all tokens."""
    return model if isinstance(model, TeacherView) else None


def _logits(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Of a model, over the teacher's vocabulary."""
    view = view_of(model)
    return (output_layer(model) if view is None else view).logits(states)


def _logprobs(logits: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Log-probabilities over the ids that the tokenizer makes; rows beyond them are padding of the
    matrix.
    """
    return torch.log_softmax(logits[:, :vocabulary].float(), dim=-1)
