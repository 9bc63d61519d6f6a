"""An exported student at work: texts in, probabilities and features out.

In: a folder that `tutelage export` wrote. Out: a `Student`. Memory stays small rather than speed
highest on large batches: no arena that keeps what the longest batch needed, one thread unless more
are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage_runtime.bundle import GRAPH, Bundle, BundleError, Question, read_bundle
from tutelage_runtime.encoding import Encode, Encoded, encoder, feed
from tutelage_runtime.student import Answers

MOST_PLACES = 1024
"""Of one batch: its texts times the tokens, or rows, of its longest. Larger ones are no faster: an
LSTM takes 0.20 ms a text with this, 0.36 with four times as much, and 20 MB less."""
MOST_TEXTS = 256
"""Of one batch."""
_MOST_SAID = 300


class Student:
    """An exported student, ready to answer from any thread; see `student.Answering`. Make it with
    `load`.

    Args:
        bundle: What it is.
        encode: What turns texts into ids.
        graph: An `onnxruntime.InferenceSession`.
    """

    def __init__(self, bundle: Bundle, encode: Encode, graph: Any) -> None:
        self.bundle = bundle
        self._encode, self._graph = encode, graph

    @property
    def question(self) -> Question:
        """What it answers."""
        return self.bundle.question

    @property
    def labels(self) -> list[str]:
        """C class names, in the order of the probabilities."""
        return list(self.bundle.question.labels)

    @property
    def version(self) -> str:
        """Of its content, see `Bundle.version`."""
        return self.bundle.version

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """What the graph reads of texts, cut at `Bundle.max_length`.

        Raises:
            TextError: Something is no text.
        """
        return self._encode(texts)

    def answer(self, texts: Sequence[str]) -> Answers:
        """Answers for texts.

        Texts of like length go through the graph together, so the order given costs nothing.

        Args:
            texts: N texts, any Unicode; of longer ones the beginning is read.

        Raises:
            TextError: Something is no text, or holds half a character.
        """
        logits, features = self.logits(texts)
        return Answers(softmax(logits, temperature=self.bundle.temperature), features)

    def probs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Probability of every class for every text, [N, C]; rows sum to 1."""
        return self.answer(texts).probs

    def logits(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores before any temperature, [N, C], and features, [N, D], of N texts."""
        encoded = self.encode(texts)
        if len(encoded) == 1:
            return self._run(encoded)
        found = [(rows, self._run([encoded[row] for row in rows])) for rows in _batches(encoded)]
        if not found:
            empty, features = self.logits([""])
            return empty[:0], features[:0]
        logits, features = (
            np.empty((len(encoded), part.shape[1]), dtype=np.float32) for part in found[0][1]
        )
        for rows, (some_logits, some_features) in found:
            logits[rows], features[rows] = some_logits, some_features
        return logits, features

    def _run(self, encoded: Sequence[Encoded]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        arrays = feed(self.bundle.inputs, encoded, pad_id=self.bundle.pad_id)
        try:
            logits, features = self._graph.run(["logits", "features"], arrays)
        except Exception as error:  # of the library's own, which have no class in common
            said = f"{type(error).__name__}: {error}"[:_MOST_SAID]
            raise BundleError(
                f"{self.bundle.folder / GRAPH} cannot read a text ({said}): export the student "
                "again"
            ) from error
        shape = getattr(logits, "shape", ()), getattr(features, "shape", ())
        if shape[0] != (len(encoded), len(self.labels)) or shape[1][:1] != (len(encoded),):
            raise BundleError(
                f"{self.bundle.folder / GRAPH} gives arrays of shapes {shape[0]} and {shape[1]} "
                f"for {len(encoded)} texts and {len(self.labels)} labels: export the student again"
            )
        return logits, features


def load(folder: Path | str, *, threads: int = 1, verify: bool = True) -> Student:
    """An exported student from its folder.

    Args:
        folder: As `tutelage export` wrote it.
        threads: That one answer may use; more pay for large students only. Callers may be as many
            as they like.
        verify: Whether to compare the sums of all files.

    Raises:
        BundleError: It is no exported student, was changed, or its graph cannot be run.

    Example:
        >>> load("runs/reviews/students/lstm/export/onnx").probs(["Great fun."])  # doctest: +SKIP
        array([[0.01, 0.07, 0.92]], dtype=float32)
    """
    bundle = read_bundle(folder, verify=verify)
    return Student(bundle, encoder(bundle), _graph(bundle, threads=threads))


def softmax(logits: NDArray[np.floating], *, temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities of scores, [N, C], in float32.

    Args:
        logits: Raw scores.
        temperature: They are divided by it.
    """
    scores = np.asarray(logits, dtype=np.float32) / np.float32(temperature)
    scores -= np.maximum.reduce(scores, axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=1, keepdims=True)
    return scores


def _batches(encoded: Sequence[Encoded]) -> list[list[int]]:
    """Places of texts that go through the graph together, longest texts first."""
    lengths = [max(1, len(one.ids)) for one in encoded]
    batches: list[list[int]] = []
    most = 0
    for place in sorted(range(len(encoded)), key=lambda place: -lengths[place]):
        if not batches or len(batches[-1]) >= most:
            most = min(MOST_TEXTS, max(1, MOST_PLACES // lengths[place]))
            batches.append([])
        batches[-1].append(place)
    return batches


def _graph(bundle: Bundle, *, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False  # of one length only
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        graph = onnxruntime.InferenceSession(
            bundle.folder / GRAPH, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of the library's own, which have no class in common
        raise BundleError(
            f"{bundle.folder / GRAPH} cannot be run by onnxruntime {onnxruntime.__version__} "
            f"({type(error).__name__}: {error}): export the student again"
        ) from error
    outputs = {one.name for one in graph.get_outputs()}
    if not {"logits", "features"} <= outputs:
        raise BundleError(
            f"{bundle.folder / GRAPH} gives {', '.join(sorted(outputs))}; expected logits and "
            "features: export the student again"
        )
    return graph
