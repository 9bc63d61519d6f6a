"""A language-model teacher over a corpus: its soft targets into a store, each document once, resumable.

In: a teacher and documents. Out: a complete `TargetStore`. While the next batch is in the forward pass, a thread
encodes and writes the targets of the last one. Longest documents go first, so that memory runs out at once or not at
all.
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
from torch import Tensor

from tutelage.targets import (
    HiddenTargets,
    SparseTargets,
    TargetStore,
    TargetWriter,
    read_output_matrix,
    write_output_matrix,
)
from tutelage.teachers.balancing import FINER, balance
from tutelage.teachers.causal_lm import CausalTeacher
from tutelage.teachers.drawing import draw_sampled, entropies, join, keep_top_k, split_by_document, uniforms
from tutelage.types import SILENT, Document, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_ELEMENTS = 2**23
"""Logits held at once."""
CHANNEL_POSITIONS = 512
"""Positions whose states say how large each channel is."""
QUANTISATION_GATE = 1e-3
"""Mean divergence in nats that rounding to 8 bits may cause before people are told."""
_WAITING_BATCHES = 2


def label_documents(
    teacher: CausalTeacher,
    documents: Sequence[Document],
    *,
    out: Path,
    kind: str,
    encoding: Mapping[str, Any],
    seed: int = 0,
    progress: Progress = SILENT,
) -> TargetStore:
    """Let a teacher write soft targets for documents, into a store on disk.

    Each distinct document is read once. A call that was killed goes on where it was; a call on a finished store asks
    only about documents that it lacks.

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
    scorer = _scorer(teacher, documents, out, kind=kind, encoding=encoding, seed=seed, progress=progress)
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
                targets = [balance(drawn, name, seed=seed) for drawn, name in zip(targets, ids, strict=True)]
            writer.add(ids, targets)

        missing = [documents[index] for index in writer.missing([document.example_id for document in documents])]
        total = sum(len(document.token_ids) for document in missing)
        if len(missing) < len({document.example_id for document in documents}):
            progress.say(f"Soft targets: {len(documents) - len(missing):,} documents were done before")
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


@contextmanager
def in_background(work: Any) -> Iterator[Any]:
    """Inside, calls of the value yielded are done by a thread, in order; leaving waits for all of them.

    An error in the thread is raised by the next call, or on leaving. On an error inside (or Ctrl-C) what has been
    handed over is still done.
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
    teacher: CausalTeacher,
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
        channels = _write_matrix(teacher, documents, out, progress=progress)
        return lambda batch: [hidden_targets(teacher, states, channels) for states in teacher.read(batch)]
    if kind not in ("sampled", "top_k"):
        raise ValueError(f"targets of kind {kind!r} were asked for; expected sampled, top_k or hidden")

    def score(batch: Sequence[Document]) -> list[SparseTargets]:
        states = teacher.read(batch)
        offsets = np.concatenate(
            [uniforms(seed, document.example_id, len(found)) for document, found in zip(batch, states, strict=True)]
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


@torch.inference_mode()
def hidden_targets(teacher: CausalTeacher, states: Tensor, channels: Tensor) -> HiddenTargets:
    """The states of one document in 8 bits a value, with the entropies of their distributions.

    Args:
        teacher: Whose output matrix tells the entropies.
        states: float32 [P, H].
        channels: What each value is divided by before it is rounded, [H].
    """
    codes, scales = quantise(states / channels)
    found = [entropies(teacher.logits(chunk)) for chunk in states.split(max(1, CHUNK_ELEMENTS // teacher.vocabulary))]
    nats = torch.cat(found) if found else states.new_zeros(0)
    return HiddenTargets(codes.cpu().numpy(), scales.cpu().numpy(), nats.cpu().numpy())


def quantise(states: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [P, H] and float32 [P] whose product is nearest to the states: the largest of a row is 127 steps."""
    scales = states.abs().amax(dim=-1) / 127
    codes = (states / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round_().clamp_(-127, 127)
    return codes.to(torch.int8), scales


@torch.inference_mode()
def _write_matrix(teacher: CausalTeacher, documents: Sequence[Document], out: Path, *, progress: Progress) -> Tensor:
    """Write the output matrix beside the targets, and give the channels that states are divided by."""
    head, size = teacher.head, teacher.vocabulary
    device = head.weight.device
    sample: list[Tensor] = []
    distinct = {document.example_id: document for document in documents}
    for _, document in sorted(distinct.items()):  # neither order nor repetition matters
        if sum(len(states) for states in sample) >= CHANNEL_POSITIONS:
            break
        sample += teacher.read([document])
    states = torch.cat(sample) if sample else head.weight.new_ones(1, head.weight.shape[1]).float()
    known = read_output_matrix(out).channels if (out / "output.safetensors").is_file() else None
    if known is None:
        spread = states.square().mean(dim=0).sqrt()
        channels = spread.clamp_min(float(spread.max()) * 1e-4 or 1.0)
    else:
        channels = torch.from_numpy(np.array(known)).to(device)
    write_output_matrix(
        out,
        weight=head.weight[:size].float().cpu().numpy(),
        bias=None if head.bias is None else head.bias[:size].float().cpu().numpy(),
        scale=head.scale,
        cap=head.cap,
        channels=channels.cpu().numpy(),
    )
    chunk = states[: max(1, CHUNK_ELEMENTS // size)]
    codes, scales = quantise(chunk / channels)
    exact = torch.log_softmax(teacher.logits(chunk), dim=-1)
    rounded = torch.log_softmax(teacher.logits(codes.float() * scales[:, None] * channels), dim=-1)
    divergence = float((exact.exp() * (exact - rounded)).sum(dim=-1).mean())
    same = float((exact.argmax(dim=-1) == rounded.argmax(dim=-1)).float().mean())
    progress.say(
        f"Rounding hidden states to 8 bits costs {divergence:.1e} nats; the first choice stays at {same:.2%} of places"
    )
    if divergence > QUANTISATION_GATE:
        progress.say("warning: that is much for this teacher; consider targets of kind sampled or live")
    return channels
