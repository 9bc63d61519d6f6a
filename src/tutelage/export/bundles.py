"""The formats `onnx` and `onnx_int8`: a folder as `tutelage_runtime.bundle` describes it.

In: a student that classifies, of any kind. Out: its graph, what turns texts into the graph's
inputs, `parity.json`, and last of all `student.json`, without which nothing answers from a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tutelage.errors import ExportFailed, ModelError
from tutelage.export.card import CARD, card
from tutelage.export.parity import PLAIN, Probs, compare
from tutelage.export.subject import Rows, Subject
from tutelage.runs import atomic_write_json, atomic_write_text, settle_folder
from tutelage.runs.digests import sha256_of
from tutelage_runtime.bundle import FORMAT, GRAPH, STUDENT, Inputs, version_of
from tutelage_runtime.encoding import NGRAMS, PAIRS, TOKENIZER

if TYPE_CHECKING:
    from tutelage.students.classifier.answering import Classifier
    from tutelage_runtime.session import Student

PARITY = "parity.json"
COMPARED = ("against", "rows", "agreement", "difference", "products")
SIZES = ("bytes", "graph_bytes", "graph_bytes_float32")
"""Of the gate's record, what stands in `student.json` and is told by `tutelage export`."""
FEWEST_JUDGES = 30
"""Labelled validation rows that a temperature is fitted to."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A student as a graph, and how texts become its inputs."""

    graph: Any
    inputs: Inputs
    max_length: int
    texts: Mapping[str, str]
    """Files beside the graph, by name."""
    pad_id: int = 0
    pairs: Any = field(default=None)
    """int64 [N, 3] of a student that knows pairs of tokens."""


def write_onnx(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with a student in float32, see `export`."""
    return _write(subject, out, int8=False)


def write_int8(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with a student in int8, see `export`."""
    return _write(subject, out, int8=True)


def _write(subject: Subject, out: Path, *, int8: bool) -> Mapping[str, Any]:
    from tutelage.students import load_classifier

    student = load_classifier(subject.folder)
    expected, origin = _remembered(student.probs), subject.origin
    made = _made(student, subject.folder)
    for name, text in made.texts.items():
        atomic_write_text(out / name, text)
    if made.pairs is not None:
        np.save(out / PAIRS, made.pairs)
    values: dict[str, Any] = {
        "format": FORMAT,
        "name": subject.name,
        "format_name": "onnx_int8" if int8 else "onnx",
        "inputs": made.inputs,
        "question": {
            "labels": list(student.labels),
            "descriptions": dict(origin.descriptions),
            "instructions": origin.instructions,
        },
        "temperature": 1.0,
        "max_length": made.max_length,
        "pad_id": made.pad_id,
        "files": {},
        "facts": {},
    }
    problems: Sequence[str] = ()
    for products, graph in _graphs(made, int8=int8):
        (out / GRAPH).write_bytes(graph)
        settle_folder(out)
        answering = [path for path in sorted(out.iterdir()) if path.name != PARITY]
        values["files"] = {path.name: sha256_of(path) for path in answering}
        exported = _opened(out, values)
        found = compare(expected, exported, origin.tested, int8=int8)
        record = {
            "format": values["format_name"],
            "products": products,
            "against": PLAIN if origin.tested is None else origin.tested.name,
            "bytes": sum(path.stat().st_size for path in answering),
            "graph_bytes": len(graph),
            "graph_bytes_float32": made.graph.ByteSize(),
            **found.record,
        }
        atomic_write_json(out / PARITY, record)
        problems = found.problems
        if not problems:
            break
    else:
        raise ExportFailed(
            f"{values['format_name']} of {subject.name} does not answer as the student: "
            f"{'; '.join(problems)}."
        )
    compared, sizes = ({key: record[key] for key in keys} for keys in (COMPARED, SIZES))
    values["temperature"] = fitted_temperature(exported, origin.validation)
    values["facts"] = {
        **origin.facts,
        "numbers": dict(origin.numbers.get(subject.name, {})),
        "parity": compared,
        **sizes,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tutelage": version("tutelage"),
    }
    values["version"] = version_of(values)
    atomic_write_text(out / CARD, card({**values, "run": origin.run}))
    atomic_write_json(out / STUDENT, values)
    told = {key: values[key] for key in ("version", "temperature")}
    return {**told, **compared, **sizes}


def _graphs(made: _Made, *, int8: bool) -> Iterator[tuple[str, bytes]]:
    """How products are computed, and the graph; of int8 the next where one is too coarse.

    A student that looks rows up has a small layer behind them, whose input takes longer to quantise
    than to multiply.
    """
    if not int8:
        yield "float32", made.graph.SerializeToString()
        return
    from tutelage.export.quantizing import ALL_PRODUCTS, quantize

    for products in ALL_PRODUCTS if made.inputs == "tokens" else ALL_PRODUCTS[-1:]:
        yield products, quantize(made.graph, products=products).SerializeToString()


def _remembered(probs: Callable[[Sequence[str]], Probs]) -> Callable[[Sequence[str]], Probs]:
    """The same answers, each text asked once."""
    known: dict[str, Probs] = {}

    def ask(texts: Sequence[str]) -> Probs:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, probs(new) if new else (), strict=True))
        return np.stack([known[text] for text in texts])

    return ask


def fitted_temperature(exported: Student, rows: Rows | None) -> float:
    """What the scores of a student are divided by, so that its probabilities of rows that no
    training saw are as right as one number makes them.

    Args:
        exported: The student.
        rows: Validation rows; of those without a label nothing is learnt.

    Returns:
        Four decimals; 1 where fewer than `FEWEST_JUDGES` rows have labels: then the probabilities
        are those of the teacher, as far as it was learnt.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.
    """
    from tutelage.teachers.prompted.calibration import fit_temperature

    if rows is None or rows.labels is None:
        return 1.0
    known = np.flatnonzero(np.asarray(rows.labels) >= 0).tolist()
    if len(known) < FEWEST_JUDGES:
        return 1.0
    logits, _ = exported.logits([rows.texts[place] for place in known])
    return round(fit_temperature(logits, np.asarray(rows.labels)[known]), 4)


def _opened(out: Path, values: Mapping[str, Any]) -> Student:
    """The export as it will run, before it has a `student.json`."""
    from tutelage_runtime.session import load

    path = out / STUDENT
    path.write_text(json.dumps({**values, "version": version_of(values)}), encoding="utf-8")
    try:
        return load(out)
    finally:
        path.unlink()


def _made(student: Classifier, folder: Path) -> _Made:
    """The graph of a student, whichever kind it is of."""
    from tutelage.students.classifier.linear.model import LinearClassifier
    from tutelage.students.classifier.static.model import StaticClassifier

    if isinstance(student, LinearClassifier):
        from tutelage.export.tables import linear_graph

        ngrams = student.ngrams
        vocabulary = {
            name: getattr(ngrams, name)
            for name in ("words", "characters", "longest_words", "longest_characters", "lowercase")
        }
        dense = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
        return _Made(linear_graph(student), "ngrams", ngrams.max_length, {NGRAMS: dense})
    if isinstance(student, StaticClassifier):
        from tutelage.export.tables import static_graph

        pairs = [(*pair, row) for pair, row in student.pairs.items()]
        return _Made(
            static_graph(student),
            "rows",
            cast(Any, student.tokenizer.truncation)["max_length"],
            {TOKENIZER: student.tokenizer.to_str()},
            pairs=np.array(pairs, dtype=np.int64) if pairs else None,
        )
    return _of_network(student, folder)


def _of_network(student: Any, folder: Path) -> _Made:
    from tutelage.export.recurrent import recurrent_graph
    from tutelage.export.traced import traced_graph
    from tutelage.models.pretrained import from_pretrained
    from tutelage.students.classifier.rnn import RecurrentForSequenceClassification

    tokenizer = from_pretrained("tokenizer", str(folder), folder)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{folder} has a tokenizer ({type(tokenizer).__name__}) that is written in Python, "
            "which no export can run: train a student with a tokenizer of its own"
        )
    is_recurrent = isinstance(student.model, RecurrentForSequenceClassification)
    return _Made(
        (recurrent_graph if is_recurrent else traced_graph)(student.model),
        "tokens",
        student.max_length,
        {TOKENIZER: tokenizer.backend_tokenizer.to_str()},
        pad_id=tokenizer.pad_token_id or 0,
    )
