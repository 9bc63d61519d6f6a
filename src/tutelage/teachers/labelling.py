"""One teacher over a data set: its soft targets into a store, each distinct text or document once,
resumable.

In: a teacher, and examples (`label`) or documents (`label_documents`, and of a server
`label_served_documents`). Out: a complete `TargetStore`. Where weights are here, the longest go
first, so that memory runs out at once or not at all, and the time left is over- rather than
underestimated. While the next batch of documents is in the forward pass, a thread encodes and
writes the targets of the last one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tutelage.targets import SparseTargets, TargetStore, TargetWriter
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
from tutelage.teachers.teacher import (
    AnswersAsTheyCome,
    ClassProbabilities,
    HiddenStates,
    LabelMass,
    TokenAnswers,
)
from tutelage.types import SILENT, Document, Example, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator


_ROWS_AT_ONCE = 512
_MASS_SAMPLE = 64
_LITTLE_MASS = 0.2


def label(
    teacher: ClassProbabilities,
    examples: Sequence[Example],
    *,
    out: Path,
    seed: int = 0,
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
        progress: Where the bar with the time left goes.

    Returns:
        The complete store.

    Raises:
        TargetsMismatch: `out` holds targets of another teacher or label list.
    """
    kind = "class_probabilities"
    with TargetWriter.open(
        out, kind=kind, teacher=teacher.fingerprint, labels=teacher.labels, seed=seed
    ) as writer:
        ids = [example.example_id for example in examples]
        missing = writer.missing(ids)
        if not isinstance(teacher, AnswersAsTheyCome):
            missing.sort(key=lambda row: (-len(examples[row].text), ids[row]))
        if missing and isinstance(teacher, LabelMass):
            _report_mass(teacher, [examples[row] for row in missing], progress)
        with progress.bar("Labelling", total=len(missing), unit="texts") as advance:
            for rows, probs in _answers(teacher, examples, missing, progress):
                writer.add([ids[row] for row in rows], probs)
                advance(len(rows))
        if isinstance(teacher, AnswersAsTheyCome):
            writer.give_up(len(teacher.unanswered))
        writer.finish()
    return TargetStore.open(out, teacher=teacher.fingerprint, labels=teacher.labels)


def _answers(
    teacher: ClassProbabilities,
    examples: Sequence[Example],
    missing: Sequence[int],
    progress: Progress,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Rows with their soft targets, as the teacher gives them."""
    if isinstance(teacher, AnswersAsTheyCome):
        asked = [examples[row] for row in missing]
        for places, probs in teacher.answers(asked, progress=progress):
            yield [missing[place] for place in places], probs
        return
    for start in range(0, len(missing), _ROWS_AT_ONCE):
        rows = list(missing[start : start + _ROWS_AT_ONCE])
        yield rows, teacher.label([examples[row] for row in rows])


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


_WAITING_BATCHES = 2


def label_documents(
    teacher: HiddenStates,
    documents: Sequence[Document],
    *,
    out: Path,
    kind: str,
    encoding: Mapping[str, Any],
    seed: int = 0,
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
        progress: A bar in tokens.

    Returns:
        The store, complete.

    Raises:
        DataError: A document is longer than the teacher reads.
        ModelError: A hidden state is not a number.
        TargetsMismatch: `out` holds targets of another teacher, tokenizer or encoding.
    """
    encoding = dict(encoding)
    scorer = _scorer(
        teacher, documents, out, kind=kind, encoding=encoding, seed=seed, progress=progress
    )
    with TargetWriter.open(
        out,
        kind=kind,
        teacher=teacher.fingerprint,
        tokenizer=teacher.tokenizer_fingerprint,
        vocabulary_size=teacher.vocabulary,
        encoding=encoding,
        seed=seed,
    ) as writer:

        def add(ids: list[bytes], targets: list[Any]) -> None:
            if kind == "sampled":
                targets = [
                    balance(drawn, name, seed=seed)
                    for drawn, name in zip(targets, ids, strict=True)
                ]
            writer.add(ids, targets)

        missing = [
            documents[index]
            for index in writer.missing([document.example_id for document in documents])
        ]
        total = sum(len(document.token_ids) for document in missing)
        if len(missing) < len({document.example_id for document in documents}):
            progress.say(
                f"Soft targets: {len(documents) - len(missing):,} documents were done before"
            )
        with (
            progress.bar("Writing soft targets", total=total, unit="tokens") as advance,
            in_background(add) as put,
        ):
            for batch in teacher.batches(missing):
                chosen = [missing[index] for index in batch]
                put([document.example_id for document in chosen], scorer(chosen))
                advance(sum(len(document.token_ids) for document in chosen))
        writer.finish()
    return TargetStore.open(out)


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


@contextmanager
def in_background(work: Any) -> Iterator[Any]:
    """Inside, calls of the value yielded are done by a thread, in order; leaving waits for all of
    them.

    An error in the thread is raised by the next call, or on leaving. On an error inside (or Ctrl-C)
    what has been handed over is still done.
    """
    waiting: queue.Queue[tuple[Any, ...] | None] = queue.Queue(maxsize=_WAITING_BATCHES)
    errors: list[BaseException] = []

    def do_all() -> None:
        while (arguments := waiting.get()) is not None:
            if not errors:  # after an error the rest is only taken, so that nobody waits for ever
                try:
                    work(*arguments)
                except BaseException as error:  # raised again where the caller sees it
                    errors.append(error)

    def put(*arguments: Any) -> None:
        if errors:
            raise errors[0]
        waiting.put(arguments)

    thread = threading.Thread(target=do_all, name="tutelage-writer", daemon=True)
    thread.start()
    try:
        yield put
    finally:
        waiting.put(None)
        thread.join()
    if errors:
        raise errors[0]


def _scorer(
    teacher: HiddenStates,
    documents: Sequence[Document],
    out: Path,
    *,
    kind: str,
    encoding: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Any:
    """What turns a batch of documents into targets of a kind."""
    if kind == "hidden":
        channels = prepare_matrix(teacher, documents, out, progress=progress)
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
