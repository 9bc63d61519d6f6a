"""Every kind of student as an ONNX graph: it answers as PyTorch does, whatever lengths and batches,
in float32 and in int8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.export.tiny_students import NETWORKS, RECURRENT, reviews

from tutelage.export import Origin, Rows, Subject, bundles, export, parity
from tutelage.export.parity import BATCH_SIZES, FLOAT_DIFFERENCE
from tutelage.export.quantizing import ALL_PRODUCTS, quantize, whole_numbers
from tutelage.students import load_classifier
from tutelage_runtime.bundle import read_bundle
from tutelage_runtime.session import load, softmax

TRACED = [
    "transformer",
    "pooled llama",
    "bert",
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in (*NETWORKS, "pooled bert")
        if kind != "bert"
    ),
]
LSTM = "lstm mean both ways 2"
TABLES = ["linear", "static", "static sum"]
KINDS = [*RECURRENT, *TABLES, *TRACED]

Exported = Callable[[str], Path]


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_its_student(kind: str, exported: Exported, student: Exported) -> None:
    out = exported(kind)
    told = json.loads((out / "parity.json").read_text("utf-8"))
    assert told["passed"] is True
    assert (told["agreement"], told["rows"]) == (1.0, 120)
    assert told["difference"] <= FLOAT_DIFFERENCE
    assert list(told["batches"]) == [str(size) for size in BATCH_SIZES]
    bundle = read_bundle(out)
    assert bundle.question.labels == ("bad", "fair", "good")
    read = {name: one["read"] for name, one in told["lengths"].items()}
    assert read["short"] < read["median"] < read["truncated"]
    assert bundle.inputs != "tokens" or read["truncated"] == bundle.max_length
    # Not the gate's own comparison: other texts, in the order that they come in.
    texts = ["", *reviews(20, seed=8, longest=30)]
    answered, expected = load(out), load_classifier(student(kind)).probs(texts)
    np.testing.assert_allclose(answered.answer(texts).probs, expected, atol=1e-5)
    alone = np.concatenate([answered.answer([text]).probs for text in texts])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_last_layer_reads(kind: str, exported: Exported) -> None:
    logits, features = load(exported(kind)).logits(reviews(30, seed=9))
    assert features.shape[0] == 30
    known = np.hstack([features, np.ones((30, 1), dtype=np.float32)])
    found, *_ = np.linalg.lstsq(known, logits, rcond=None)
    np.testing.assert_allclose(known @ found, logits, atol=2e-4)
    assert np.ptp(features, axis=0).max() > 0.01


@pytest.mark.parametrize("products", ALL_PRODUCTS)
@pytest.mark.parametrize("kind", KINDS)
def test_in_int8_it_answers_nearly_so(
    kind: str, products: Any, exported: Exported, student: Exported, tmp_path: Path
) -> None:
    graph = onnx.load(exported(kind) / "model.onnx")
    small = quantize(graph, products=products)
    texts = reviews(60, seed=8, longest=30)
    (tmp_path / "model.onnx").write_bytes(small.SerializeToString())
    expected = load_classifier(student(kind)).probs(texts)
    found = softmax(_logits(tmp_path, exported(kind), texts))
    assert 0 < np.abs(found - expected).max() < 0.05
    kinds = {node.op_type for node in small.graph.node}
    assert "int8" in {_kind(one) for one in small.graph.initializer}
    assert ("DynamicQuantizeLSTM" in kinds) == (kind.startswith("lstm") and products != "float32")
    if kind not in (*TABLES, *RECURRENT):
        assert ("MatMulInteger" in kinds) == (products != "float32")
    last = [node for node in small.graph.node if "logits" in node.output]
    assert last[0].op_type in ("Gemm", "Add", "MatMul")  # the last layer stays as it was
    weights = {one.name: _kind(one) for one in small.graph.initializer}
    assert {weights.get(name, "float32") for name in last[0].input} == {"float32"}
    sizes = [
        one.dims
        for one in small.graph.initializer
        if _kind(one) == "float32" and len(one.dims) == 2
    ]
    assert all(1 in size or 3 in size or np.prod(size) < 256 for size in sizes)


def test_where_all_in_whole_numbers_is_too_coarse_less_is(
    student: Exported, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(student(LSTM), LSTM, Origin(tested=rows))
    monkeypatch.setattr(parity, "INT8_AGREEMENT", 0.5)
    coarse = export("onnx_int8", subject, tmp_path / "coarse")
    assert (coarse["products"], coarse["difference"] > 1e-3) == ("int8", True)
    real, asked = bundles.compare, []

    def strict(*given: Any, **settings: Any) -> parity.Parity:
        asked.append(real(*given, **settings))
        found = asked[-1]
        return found if len(asked) == 3 else parity.Parity(("too coarse",), found.record)

    monkeypatch.setattr(bundles, "compare", strict)
    fine = export("onnx_int8", subject, tmp_path / "fine")
    assert [one.record["rows"] for one in asked] == [120] * 3
    assert (fine["products"], fine["difference"] < coarse["difference"]) == ("float32", True)
    assert fine["bytes"] < 1.1 * coarse["bytes"]
    assert read_bundle(tmp_path / "fine").facts["parity"]["products"] == "float32"


def _kind(one: Any) -> str:
    return onnx.helper.tensor_dtype_to_np_dtype(one.data_type).name


def _logits(graph: Path, bundle: Path, texts: list[str]) -> np.ndarray:
    """What a graph gives for texts as the bundle encodes them, all in one batch."""
    import onnxruntime

    from tutelage_runtime.encoding import feed

    known = load(bundle)
    arrays: Mapping[str, Any] = feed(
        known.bundle.inputs, known.encode(texts), pad_id=known.bundle.pad_id
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph / "model.onnx", options)
    return session.run(["logits"], dict(arrays))[0]


def test_a_graph_names_no_source_files(exported: Exported, student: Exported) -> None:
    content = (exported("transformer") / "model.onnx").read_bytes()
    assert b".py" not in content
    assert b"/site-packages/" not in content
    weights = load_classifier(student("transformer")).parameters
    assert len(content) < 4 * weights + 40_000


@pytest.mark.parametrize("axis", [-1, 0])
def test_whole_numbers_are_near(axis: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 50, 8)).astype(np.float32)
    values[0, 3] = 0
    whole, scales = whole_numbers(values, axis=axis)
    assert (whole.dtype, scales.shape) == (np.int8, (2, 50, 1) if axis else (1, 50, 8))
    assert (np.abs(whole * scales - values) <= scales / 2 + 1e-6).all()
    assert not (whole * scales)[0, 3].any()
