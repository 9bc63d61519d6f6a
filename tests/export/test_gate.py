"""The gate: what does not answer as its student is no export, and says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.tiny_students import reviews

from tutelage.errors import ExportFailed, ModelError
from tutelage.export import Origin, Rows, Subject, export, recurrent
from tutelage.export.bundles import fitted_temperature
from tutelage.export.graphs import Graph
from tutelage.export.parity import INT8_LOSS, ODD_TEXTS, Parity, compare
from tutelage_runtime.bundle import BundleError, read_bundle
from tutelage_runtime.session import load

Folder = Callable[[str], Path]
LSTM, GRU = "lstm last both ways 2", "gru mean_max both ways 1"


def refused(kind: str, student: Folder, rows: Rows, out: Path) -> dict[str, Any]:
    """What the gate said of an export that it refused."""
    with pytest.raises(
        ExportFailed, match=rf"does not answer as the student: .* kept in {out}\.fai"
    ):
        export("onnx", Subject(student(kind), kind, Origin(tested=rows)), out)
    assert not out.exists()
    failed = out.with_name(f"{out.name}.failed")
    with pytest.raises(BundleError, match=r"has no student\.json"):
        read_bundle(failed)
    return json.loads((failed / "parity.json").read_text("utf-8"))


@pytest.mark.parametrize(("kind", "order"), [(LSTM, (0, 1, 2, 3)), (GRU, (0, 1, 2))])
def test_gates_in_the_wrong_order_are_noticed(
    kind: str, order: tuple[int, ...], student: Folder, rows: Rows, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(recurrent, f"{kind.partition(' ')[0].upper()}_ORDER", order)
    told = refused(kind, student, rows, tmp_path / "out")
    assert told["passed"] is False
    assert told["difference"] > 0.01
    assert told["problems"][0].startswith("probabilities differ by up to ")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(GRU, "linear_before_reset", 0), (LSTM, "sequence_lens", "")],
)
def test_what_torchs_exporter_forgets_is_noticed(
    kind: str, name: str, value: Any, student: Folder, rows: Rows, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add = Graph.add_several

    def forgetful(graph: Graph, operator: str, *inputs: str, **settings: Any) -> list[str]:
        if operator in ("GRU", "LSTM") and name in settings:
            settings[name] = value
        elif operator in ("GRU", "LSTM"):
            inputs = inputs[:4]
        return add(graph, operator, *inputs, **settings)

    monkeypatch.setattr(Graph, "add_several", forgetful)
    told = refused(kind, student, rows, tmp_path / "out")
    if name == "sequence_lens":  # alone nothing is padded
        assert told["batches"]["1"]["difference"] < 1e-5 < told["batches"]["2"]["difference"]


def compared(kind: str, exported: Folder, change: Any, *, int8: bool, rows: Rows) -> Parity:
    """An export beside a student whose probabilities are its own, changed."""
    answered = load(exported(kind))

    def expected(texts: Any) -> np.ndarray:
        return change(answered.answer(texts).probs)

    return compare(expected, answered, rows, int8=int8)


def test_int8_may_differ_a_little_and_lose_a_little(exported: Folder) -> None:
    texts = reviews(150, seed=3)

    def moved(probs: np.ndarray) -> np.ndarray:
        return probs * 0.98 + 0.02 * probs[:, ::-1]

    labels = load(exported("linear")).answer(texts).probs.argmax(axis=1)
    rows = Rows(texts, labels)
    assert compared("linear", exported, moved, int8=True, rows=rows).problems == ()
    (said, *_) = compared("linear", exported, moved, int8=False, rows=rows).problems
    assert said.endswith("expected at most 0.0001")


def test_int8_that_answers_otherwise_or_worse_is_refused(exported: Folder) -> None:
    texts = reviews(150, seed=3)
    answered = load(exported("linear")).answer(texts).probs
    found = compared(
        "linear",
        exported,
        lambda probs: np.roll(probs, 1, axis=1),
        int8=True,
        rows=Rows(texts, (answered.argmax(axis=1) + 1) % 3, np.roll(answered, 1, axis=1)),
    )
    assert found.record["accuracy"] == {"student": 1.0, "exported": 0.0, "rows": 150}
    assert found.problems == (
        "0.00% of 150 rows get the student's answer; expected at least 99%",
        f"accuracy is 100.00 points lower; expected at most {100 * INT8_LOSS:.1f}",
    )
    found = compared(
        "linear",
        exported,
        lambda probs: np.roll(probs, 1, axis=1),
        int8=True,
        rows=Rows(texts, None, np.roll(answered, 1, axis=1)),
    )
    assert found.problems[1].startswith("teacher agreement is 100.00 points lower")


def test_what_is_no_number_is_refused(exported: Folder) -> None:
    answered = load(exported("linear"))
    logits = answered.logits

    class Broken:
        bundle = answered.bundle
        encode = staticmethod(answered.encode)

        def logits(self, texts: Any) -> Any:
            found, features = logits(texts)
            found[[text == "" for text in texts]] = np.nan
            return found, features

    found = compare(lambda texts: answered.answer(texts).probs, Broken(), None, int8=True)  # type: ignore
    assert found.problems[0] == "gives no probabilities for '' in batches of 1"
    assert "" in ODD_TEXTS


def test_without_rows_some_texts_are_built_in(student: Folder, tmp_path: Path) -> None:
    facts = export("onnx", Subject(student("linear"), "mine"), tmp_path / "out")
    assert (facts["against"], facts["rows"]) == ("built-in texts", 12)
    bundle = read_bundle(tmp_path / "out")
    assert (bundle.name, bundle.temperature) == ("mine", 1.0)
    assert bundle.facts["parity"]["against"] == "built-in texts"


def test_the_temperature_of_validation_rows_is_kept(
    student: Folder, rows: Rows, tmp_path: Path
) -> None:
    texts = reviews(200, seed=4)
    plain = tmp_path / "plain"
    subject = Subject(student("static"), "static", Origin(tested=rows))
    export("onnx", subject, plain)
    logits, _ = load(plain).logits(texts)
    draw = np.random.default_rng(0)
    odds = np.exp(logits / 2.5)
    labels = [draw.choice(3, p=one / one.sum()) for one in odds.astype(np.float64)]
    known = Rows(texts, np.array(labels))
    out = tmp_path / "out"
    export("onnx", Subject(student("static"), "static", Origin(tested=rows, validation=known)), out)
    found = read_bundle(out)
    assert found.temperature == fitted_temperature(load(plain), known) > 1.5
    assert found.version != read_bundle(plain).version
    # The gate compares what is before it: the student knows of no temperature.
    parity = json.loads((out / "parity.json").read_text("utf-8"))
    assert parity["difference"] < 1e-5
    few = Rows(texts, np.where(np.arange(200) < 29, np.array(labels), -1))
    assert fitted_temperature(load(plain), few) == 1.0


def test_a_network_without_a_linear_layer_at_its_end_is_refused() -> None:
    import torch
    from torch import nn

    from tutelage.export.traced import traced_graph

    class Odd(nn.Module):
        config = type("Config", (), {"num_labels": 3, "model_type": "odd"})

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 3)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.table(input_ids).sum(1) * attention_mask.sum()

    with pytest.raises(ModelError, match="kind odd does not end with a linear layer"):
        traced_graph(Odd())
