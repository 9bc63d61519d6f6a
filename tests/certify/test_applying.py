"""A certificate as the runtime applies it: what is sure, what is new, what is refused."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.evaluate.gates import (
    FALSE_ALARMS,
    MOST_REFERENCES,
    answered_at,
    fit_novelty,
    fit_score,
)
from tutelage_runtime.certificate import (
    CertificateError,
    Score,
    certificate_sum,
    evidence,
    read_certificate,
)
from tutelage_runtime.novelty import Novelty, novelty_bytes, read_novelty

GATE = Novelty(np.eye(3, dtype=np.float32), 1, 0.5)


def write(folder: Path, gate: Novelty | None = GATE, **changed: Any) -> Path:
    values: dict[str, Any] = {
        "format": 1,
        "student": "0123456789abcdef",
        "labels": ["no", "yes"],
        "against": "teacher",
        "over": "all",
        "disagreement": 0.02,
        "confidence": 0.95,
        "rows": 500,
        "thresholds": {"*": 0.8},
        "coverage": 0.7,
        "disagreed": 3,
        "bound": 0.0154,
        "score": {"weights": []},
        "audit": {"share": 0.02, "contract": 0.02, "alpha": 0.01, "drawn_from": "all"},
        "novelty": None,
    }
    if gate is not None:
        content = novelty_bytes(gate)
        (folder / "novelty.npz").write_bytes(content)
        values["novelty"] = {"sha256": hashlib.sha256(content).hexdigest()}
    values |= changed
    values["sum"] = certificate_sum(values)
    (folder / "certificate.json").write_text(json.dumps(values), "utf-8")
    return folder / "certificate.json"


def test_sure_is_above_the_threshold_and_not_new(tmp_path: Path) -> None:
    certificate = read_certificate(write(tmp_path), student="0123456789abcdef")
    probs = np.array([[0.1, 0.9], [0.2, 0.8], [0.95, 0.05], [0.99, 0.01]])
    features = np.array([[2, 0, 0], [0, 1, 0], [0, 0, 7], [-1, -1, -1]])
    assert certificate.sure(probs, features).tolist() == [True, False, True, False]
    assert certificate.sure(probs[:0], features[:0]).tolist() == []


def test_numbers_that_are_none_are_never_sure(tmp_path: Path) -> None:
    certificate = read_certificate(write(tmp_path))
    probs = np.array([[np.nan, np.nan], [0.01, 0.99]])
    features = np.array([[1, 0, 0], [np.nan, 0, 0]])
    with np.errstate(invalid="ignore"):
        assert not certificate.sure(probs, features).any()
    weighed = read_certificate(write(tmp_path, gate=None, score={"weights": [1.0, 1, -1, 0]}))
    assert not weighed.sure(probs[:1]).any()


def test_classes_have_their_own_thresholds_and_some_are_closed(tmp_path: Path) -> None:
    certificate = read_certificate(write(tmp_path, gate=None, thresholds={"no": None, "yes": 0.6}))
    assert certificate.sure(np.array([[0.99, 0.01], [0.3, 0.7]])).tolist() == [False, True]


def test_a_label_called_star_does_not_open_others(tmp_path: Path) -> None:
    certificate = read_certificate(
        write(tmp_path, gate=None, labels=["*", "yes"], thresholds={"*": -1.0, "yes": None})
    )
    assert certificate.sure(np.array([[0.9, 0.1], [0.1, 0.9]])).tolist() == [True, False]


def test_a_gate_needs_features_of_its_width(tmp_path: Path) -> None:
    certificate = read_certificate(write(tmp_path))
    probs = np.array([[0.1, 0.9]])
    with pytest.raises(ValueError, match="give the features too"):
        certificate.sure(probs)
    with pytest.raises(ValueError, match=r"vectors of 3"):
        certificate.sure(probs, np.ones((1, 4)))
    with pytest.raises(ValueError, match="2 labels"):
        certificate.sure(np.ones((1, 3)) / 3, np.ones((1, 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("0.8", "0.1"), "its sum differs"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "of format 2"),
        (lambda text: text[:50], "no certificate"),
        (lambda text: "[]", "no certificate"),
    ],
)
def test_what_was_changed_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = write(tmp_path)
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(CertificateError, match=message):
        read_certificate(path)


def test_a_gate_that_was_changed_or_lost_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "novelty.npz").write_bytes(b"PK")
    with pytest.raises(CertificateError, match=r"novelty\.npz is not what was written"):
        read_certificate(path)
    (tmp_path / "novelty.npz").unlink()
    with pytest.raises(CertificateError, match="or is not there"):
        read_certificate(path)


def test_another_student_or_other_labels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(CertificateError, match="this one is ffff"):
        read_certificate(path, student="ffff")
    with pytest.raises(CertificateError, match="other labels"):
        read_certificate(path, labels=["yes", "no"])
    with pytest.raises(CertificateError, match="there is no"):
        read_certificate(tmp_path / "nowhere" / "certificate.json")


def test_a_gate_is_read_as_it_was_written() -> None:
    again = read_novelty(novelty_bytes(GATE))
    assert (again.neighbours, again.threshold) == (1, 0.5)
    assert np.array_equal(again.reference, GATE.reference)
    for content in (b"", b"PK\x03\x04", novelty_bytes(Novelty(GATE.reference, 9, 0.5))):
        with pytest.raises(ValueError, match="no novelty gate"):
            read_novelty(content)


def test_a_gate_of_other_methods_or_that_unfolds_is_none() -> None:
    """Seen by the fuzzer: libraries below raise errors of a dozen kinds."""
    sound = novelty_bytes(GATE)
    at = sound.rindex(b"PK\x01\x02")
    for offset, value in ((6, 80), (8, 1), (10, 99)):  # version, encryption, method
        changed = bytearray(sound)
        changed[at + offset] = value
        with pytest.raises(ValueError, match="no novelty gate"):
            read_novelty(bytes(changed))
    file = io.BytesIO()
    np.savez_compressed(file, reference=np.zeros((4000, 50)), neighbours=1, threshold=0.5)
    with pytest.raises(ValueError, match="unfolds to more than its size"):
        read_novelty(file.getvalue())


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": ["one"]},
        {"rows": float("inf")},
        {"disagreement": 10**400},
        {"disagreement": 0},
        {"score": {"weights": [1.0]}},
        {"score": {"weights": [1, 1, 1, float("nan")]}},
        {"audit": {"share": "all"}},
        {"audit": {"alpha": 2}},
        {"novelty": 5},
    ],
)
def test_values_that_nobody_writes_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = write(tmp_path, None)
    values = json.loads(path.read_text("utf-8")) | changed
    try:
        values["sum"] = certificate_sum(values)
    except ValueError:  # what JSON has no word for
        values["sum"] = ""
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(CertificateError):
        read_certificate(tmp_path)


def test_distances_are_one_less_the_mean_cosine_of_the_nearest() -> None:
    gate = Novelty(np.eye(3, dtype=np.float32), 2, 0.5)
    found = gate.distances(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found.tolist() == pytest.approx([1 - (0.6 + 0.8) / 2, 1.0])


def test_a_gate_calls_few_known_texts_new_and_most_others() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 16)) * 4

    def known(rows: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(4, size=rows)
        return centres[labels] + random.normal(size=(rows, 16)), labels

    training, answers = known(3000)
    answers[:3] = 4  # a rare class is kept whole
    gate = fit_novelty(training, answers, known(500)[0])
    assert len(gate.reference) == MOST_REFERENCES
    kept = training[:3] / np.linalg.norm(training[:3], axis=1, keepdims=True)
    assert (gate.reference @ kept.T).max(axis=0) == pytest.approx(1)
    assert gate.novel(known(2000)[0]).mean() < 3 * FALSE_ALARMS
    assert gate.novel(random.normal(size=(500, 16))).mean() > 0.9


def test_a_score_is_fitted_only_where_it_lets_more_be_answered() -> None:
    random = np.random.default_rng(1)
    raw = random.dirichlet([0.4] * 3, size=3000)
    # Agreement hangs on the next best class, which the probability alone does not tell.
    agrees = random.random(3000) < 1 / (1 + np.exp(-2 * evidence(raw)[:, 1]))
    score = fit_score(raw, ~agrees, share=0.02)
    assert len(score.weights) in (0, 4)
    assert answered_at(score.of(raw), ~agrees, share=0.02) >= answered_at(
        Score().of(raw), ~agrees, share=0.02
    )
    assert fit_score(raw[:50], np.zeros(50, dtype=bool), share=0.02) == Score()


def test_evidence_of_hard_probabilities_is_finite() -> None:
    found = evidence(np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert np.isfinite(found).all()
    assert found[1] == pytest.approx([0, 0, np.log(2)])
