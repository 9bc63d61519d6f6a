"""One teacher over a data set: its soft targets into a store, each distinct text or document once,
resumable.

In: a teacher, and examples (`label`) or documents (`label_documents`, and of a server
`label_served_documents`). Out: a complete `TargetStore`. Where weights are here, the longest go
first, so that memory runs out at once or not at all, and the time left is over- rather than
underestimated. While the next batch is in the forward pass, a thread encodes and writes the targets
of the last one. How several processes share the batches is `teachers.sharing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.targets import SparseTargets, TargetStore, TargetWriter, read_output_matrix
from tutelage.teachers.causal.balancing import FINER, balance
from tutelage.teachers.causal.drawing import (
    draw_sampled,
    join,
    keep_top_k,
    split_by_document,
    uniforms,
)
from tutelage.teachers.causal.eight_bits import hidden_targets, prepare_matrix
from tutelage.teachers.causal.teacher import CHUNK_ELEMENTS
from tutelage.teachers.sharing import Work, Workers, write
from tutelage.teachers.teacher import (
    AnswersAsTheyCome,
    ClassProbabilities,
    HiddenStates,
    LabelMass,
    TokenAnswers,
)
from tutelage.types import SILENT, Document, Example, Progress

_ROWS_AT_ONCE = 512
_MASS_SAMPLE = 64
_LITTLE_MASS = 0.2


def label(
    teacher: ClassProbabilities,
    examples: Sequence[Example],
    *,
    out: Path,
    seed: int = 0,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> TargetStore:
    """Let a teacher write soft targets for examples, into a store on disk.

    Each distinct text is asked about once. A call that was killed goes on where it was; a call on a
    finished store asks only about texts that it lacks. A text to which the teacher gives no answer
    (see `AnswersAsTheyCome`) has no row in the store.

    Args:
        teacher: Any teacher.
        examples: What to label, in any order, repeated texts allowed.
        out: Folder of the store.
        seed: Recorded in the store; class probabilities use no randomness.
        workers: Who shares the texts, see `teachers.sharing`; None: nobody. A teacher that answers
            as answers come is asked by this process alone.
        progress: Where the bar with the time left goes.

    Returns:
        The complete store.

    Raises:
        TargetsMismatch: `out` holds targets of another teacher or label list.
        ProcessLost: One of the workers is gone.
    """
    if isinstance(teacher, AnswersAsTheyCome):
        _label_as_they_come(teacher, examples, out=out, seed=seed, progress=progress)
    else:
        work = text_work(teacher, seed=seed, progress=progress)
        write(work, examples, out=out, workers=workers, progress=progress)
    return TargetStore.open(out, teacher=teacher.fingerprint, labels=teacher.labels)


def text_work(teacher: ClassProbabilities, *, seed: int = 0, progress: Progress = SILENT) -> Work:
    """What `label` does with texts, for whoever shares them."""

    def batches(examples: Sequence[Example]) -> Iterator[Sequence[int]]:
        order = sorted(range(len(examples)), key=lambda place: (-len(examples[place].text), place))
        for start in range(0, len(order), _ROWS_AT_ONCE):
            yield order[start : start + _ROWS_AT_ONCE]

    def look(missing: Sequence[Example]) -> None:
        if isinstance(teacher, LabelMass):
            _report_mass(teacher, missing, progress)

    return Work(
        identity=_identity(teacher, seed),
        start=lambda _out, _leads: teacher.label,
        plan=batches,
        size=lambda _: 1,
        title="Labelling",
        unit="texts",
        rows="texts",
        look=look,
    )


def _identity(teacher: ClassProbabilities, seed: int) -> dict[str, Any]:
    return {
        "kind": "class_probabilities",
        "teacher": teacher.fingerprint,
        "labels": teacher.labels,
        "seed": seed,
    }


def _label_as_they_come(
    teacher: AnswersAsTheyCome,
    examples: Sequence[Example],
    *,
    out: Path,
    seed: int,
    progress: Progress,
) -> None:
    with TargetWriter.open(out, **_identity(teacher, seed)) as writer:
        ids = [example.example_id for example in examples]
        missing = writer.missing(ids)
        asked = [examples[row] for row in missing]
        if asked and isinstance(teacher, LabelMass):
            _report_mass(teacher, asked, progress)
        with progress.bar("Labelling", total=len(missing), unit="texts") as advance:
            for places, probs in teacher.answers(asked, progress=progress):
                writer.add([ids[missing[place]] for place in places], probs)
                advance(len(places))
        writer.give_up(len(teacher.unanswered))
        writer.finish()


def _report_mass(teacher: LabelMass, examples: Sequence[Example], progress: Progress) -> None:
    """Say how much probability the labels get on a few texts, and warn if it is little."""
    sample = sorted(examples, key=lambda example: example.example_id)[:_MASS_SAMPLE]
    mass = float(teacher.label_mass(sample).mean())
    advice = (
        ""
        if mass >= _LITTLE_MASS
        else "; that is little: the model hardly answers with a label, so change the prompt"
    )
    progress.say(
        f"The teacher puts {mass:.0%} of its probability on the labels ({len(sample)} "
        f"texts){advice}"
    )


def label_documents(
    teacher: HiddenStates,
    documents: Sequence[Document],
    *,
    out: Path,
    kind: str,
    encoding: Mapping[str, Any],
    seed: int = 0,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> TargetStore:
    """Let a teacher write soft targets for documents, into a store on disk.

    Each distinct document is read once. A call that was killed goes on where it was; a call on a
    finished store asks only about documents that it lacks.

    Args:
        teacher: Who speaks.
        documents: In any order, repeated ones allowed.
        out: Folder of the store.
        kind: `sampled`, `top_k` or `hidden`.
        encoding: `{"threshold": 0.05}` or `{"budget": 12}`, `{"k": 50}`, `{}`.
        seed: Of the draws.
        workers: Who shares the documents, see `teachers.sharing`; None: nobody.
        progress: A bar in tokens.

    Returns:
        The store, complete.

    Raises:
        DataError: A document is longer than the teacher reads.
        ModelError: A hidden state is not a number.
        TargetsMismatch: `out` holds targets of another teacher, tokenizer or encoding.
        ProcessLost: One of the workers is gone.
    """
    work = document_work(
        teacher, documents, kind=kind, encoding=encoding, seed=seed, progress=progress
    )
    write(work, documents, out=out, workers=workers, progress=progress)
    return TargetStore.open(out)


def document_work(
    teacher: HiddenStates,
    documents: Sequence[Document] = (),
    *,
    kind: str,
    encoding: Mapping[str, Any],
    seed: int = 0,
    progress: Progress = SILENT,
) -> Work:
    """What `label_documents` does with documents, for whoever shares them; the leader knows all of
    them.
    """
    encoding = dict(encoding)

    def balanced(ids: Sequence[bytes], targets: list[Any]) -> list[Any]:
        if kind != "sampled":
            return targets
        return [balance(drawn, name, seed=seed) for drawn, name in zip(targets, ids, strict=True)]

    def start(out: Path, leads: bool) -> Any:
        if kind == "hidden" and leads:
            channels = prepare_matrix(teacher, documents, out, progress=progress)
        elif kind == "hidden":
            known = np.array(read_output_matrix(out).channels)
            channels = torch.from_numpy(known).to(teacher.head.weight.device)
        else:
            channels = None
        return _scorer(teacher, channels, kind=kind, encoding=encoding, seed=seed)

    return Work(
        identity={
            "kind": kind,
            "teacher": teacher.fingerprint,
            "tokenizer": teacher.tokenizer_fingerprint,
            "vocabulary_size": teacher.vocabulary,
            "encoding": encoding,
            "seed": seed,
        },
        start=start,
        plan=teacher.batches,
        size=lambda document: len(document.token_ids),
        title="Writing soft targets",
        unit="tokens",
        rows="documents",
        finished=balanced,
    )


def label_served_documents(
    teacher: TokenAnswers,
    documents: Sequence[Document],
    *,
    out: Path,
    k: int,
    seed: int = 0,
    progress: Progress = SILENT,
) -> TargetStore:
    """Let a teacher that is asked over a network write `top_k` targets for documents.

    Args:
        teacher: Who answers; it keeps what it said, so that a call that was killed goes on.
        documents: In the order in which they are asked about, repeated ones allowed.
        out: Folder of the store.
        k: Tokens of each position.
        seed: Of the rounding.
        progress: A bar in tokens.

    Returns:
        The store, complete; a document to which the teacher gives no answer has no row in it.

    Raises:
        TargetsMismatch: `out` holds targets of another teacher, tokenizer or encoding.
    """
    with TargetWriter.open(
        out,
        kind="top_k",
        teacher=teacher.fingerprint,
        tokenizer=teacher.tokenizer_fingerprint,
        vocabulary_size=teacher.vocabulary,
        encoding={"k": k},
        seed=seed,
    ) as writer:
        ids = [document.example_id for document in documents]
        missing = [documents[row] for row in writer.missing(ids)]
        total = sum(len(document.token_ids) for document in missing)
        with progress.bar("Asking for soft targets", total=total, unit="tokens") as advance:
            for places, targets in teacher.answers(missing, progress=progress):
                told = [missing[place] for place in places]
                writer.add([document.example_id for document in told], targets)
                advance(sum(len(document.token_ids) for document in told))
        writer.give_up(len(teacher.unanswered))
        writer.finish()
    return TargetStore.open(out)


def _scorer(
    teacher: HiddenStates,
    channels: torch.Tensor | None,
    *,
    kind: str,
    encoding: dict[str, Any],
    seed: int,
) -> Any:
    """What turns a batch of documents into targets of a kind; `channels` are those of `hidden`."""
    if channels is not None:
        return lambda batch: [
            hidden_targets(teacher, states, channels) for states in teacher.read(batch)
        ]
    if kind not in ("sampled", "top_k"):
        raise ValueError(
            f"targets of kind {kind!r} were asked for; expected sampled, top_k or hidden"
        )

    def score(batch: Sequence[Document]) -> list[SparseTargets]:
        states = teacher.read(batch)
        offsets = np.concatenate(
            [
                uniforms(seed, document.example_id, len(found))
                for document, found in zip(batch, states, strict=True)
            ]
        )
        parts, start = [], 0
        for chunk in torch.cat(states).split(max(1, CHUNK_ELEMENTS // teacher.vocabulary)):
            logits = teacher.logits(chunk)
            if kind == "top_k":
                parts.append(keep_top_k(logits, encoding["k"]))
            else:
                parts.append(
                    draw_sampled(
                        logits,
                        offsets[start : start + len(chunk)],
                        threshold=encoding.get("threshold"),
                        budget=encoding.get("budget"),
                        finer=FINER,
                    )
                )
            start += len(chunk)
        return split_by_document(join(parts), [len(found) for found in states])

    return torch.inference_mode()(score)
