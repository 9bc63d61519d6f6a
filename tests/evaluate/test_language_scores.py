"""Language models judged against whole distributions in float64, over documents, chunk by chunk or
at once."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.train.tiny_heads import CONFIGS, tiny_model
from tests.train.tiny_language import (
    TOKENIZER,
    VOCABULARY,
    teacher_logits,
    tiny_documents,
    tiny_llama,
    tiny_student,
    tiny_teacher,
)

from tutelage.evaluate.tokens import scores as language_scores
from tutelage.evaluate.tokens.comparison import compare_language_models
from tutelage.evaluate.tokens.samples import show_distributions, write_document_scores
from tutelage.evaluate.tokens.scores import score_models
from tutelage.metrics import equal_mass_bins
from tutelage.models.computing import one_thread
from tutelage.types import Document

DOCUMENTS = tiny_documents(20, share=0.7)


@pytest.fixture(scope="module")
def scores(teacher: Any, models: dict[str, Any]) -> dict[str, Any]:
    with one_thread():  # as the tests, which compare to the last bit
        return score_models(teacher, models, DOCUMENTS, batch_tokens=40)


def log_probabilities(model: Any, document: Any) -> np.ndarray:
    """float64 [P, V], one document at a time, by the model's own logits."""
    logits = (
        teacher_logits(tiny_teacher(model), document)
        if model.config.model_type == "llama"
        else None
    )
    if logits is None:
        with torch.no_grad():
            logits = model(
                input_ids=torch.from_numpy(document.token_ids.astype(np.int64))[None]
            ).logits[0, :-1]
        logits = logits[torch.from_numpy(document.trained[1:]), :VOCABULARY].double().numpy()
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def whole_log_probabilities(model: Any, document: Any) -> np.ndarray:
    """float64 [P, V], one document alone, by the model's own forward."""
    with torch.no_grad():
        logits = model(
            input_ids=torch.from_numpy(document.token_ids.astype(np.int64))[None]
        ).logits[0, :-1]
    chosen = logits[torch.from_numpy(document.trained[1:]), :VOCABULARY].double()
    return torch.log_softmax(chosen, dim=-1).numpy()


@pytest.mark.parametrize("name", ["", "pruned", "rnn"])
def test_scores_of_every_token_are_those_of_the_definition(
    teacher, models, scores, name: str
) -> None:
    model = models[name] if name else teacher.language_model.model
    start = 0
    for document in DOCUMENTS:
        place = slice(start, start + document.positions)
        start = place.stop
        log_q, log_p = (
            log_probabilities(one, document) for one in (model, teacher.language_model.model)
        )
        labels = document.token_ids[document.trained]
        found = scores[name]
        np.testing.assert_allclose(
            found.nats[place], -log_q[np.arange(len(labels)), labels], rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(found.confidence[place], np.exp(log_q.max(-1)), rtol=1e-4)
        np.testing.assert_array_equal(found.correct[place], log_q.argmax(-1) == labels)
        if name:
            p, q = np.exp(log_p), np.exp(log_q)
            np.testing.assert_allclose(
                found.kl[place], (p * (log_p - log_q)).sum(-1), rtol=1e-4, atol=1e-5
            )
            np.testing.assert_allclose(found.acceptance[place], np.minimum(p, q).sum(-1), rtol=1e-4)
            np.testing.assert_array_equal(
                found.agreement[place], log_q.argmax(-1) == log_p.argmax(-1)
            )
    assert start == len(scores[name].nats)


def test_a_teacher_against_itself_is_perfect(scores) -> None:
    same, alone = scores["same"], scores[""]
    np.testing.assert_array_equal(same.nats, alone.nats)
    assert np.abs(same.kl).max() < 1e-6
    assert same.agreement.min() == 1.0
    np.testing.assert_allclose(same.acceptance, 1.0, atol=1e-6)
    assert (alone.kl, alone.agreement, alone.acceptance) == (None, None, None)


def test_a_teacher_in_bfloat16_is_judged_and_shown(models) -> None:
    half = tiny_teacher(tiny_llama(7).to(torch.bfloat16))
    found = score_models(half, models, DOCUMENTS, batch_tokens=40)
    assert found["same"].kl is not None
    assert 0 <= found["same"].kl.mean() < 0.2  # the same weights, rounded
    assert found["same"].kl.mean() < found["pruned"].kl.mean()
    shown = show_distributions(half, models, DOCUMENTS, count=2, seed=0)
    assert np.allclose(shown[0]["teacher"], shown[0]["models"]["same"], atol=0.1)


@pytest.mark.parametrize("kind", CONFIGS)
def test_caps_and_scales_of_logits_count_on_both_sides(kind: str) -> None:
    theirs, ours = tiny_model(kind, seed=7), tiny_model(kind, seed=1)
    found = score_models(tiny_teacher(theirs), {"one": ours}, DOCUMENTS[:6], batch_tokens=40)
    log_p, log_q = (
        np.concatenate([whole_log_probabilities(model, document) for document in DOCUMENTS[:6]])
        for model in (theirs, ours)
    )
    labels = np.concatenate([document.token_ids[document.trained] for document in DOCUMENTS[:6]])
    at = np.arange(len(labels))
    np.testing.assert_allclose(found[""].nats, -log_p[at, labels], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["one"].nats, -log_q[at, labels], rtol=1e-4, atol=1e-4)
    assert found["one"].kl is not None
    np.testing.assert_allclose(
        found["one"].kl, (np.exp(log_p) * (log_p - log_q)).sum(-1), rtol=1e-3, atol=1e-3
    )


def test_metrics_are_sums_over_documents_divided_once(scores) -> None:
    found = compare_language_models(
        DOCUMENTS, teacher=scores[""], students={"pruned": scores["pruned"]}, controls={"pruned": scores["rnn"]},
        bootstrap_samples=200,
    )  # fmt: skip
    values = found["students"]["pruned"]
    ours = scores["pruned"]
    num_bytes = sum(document.num_bytes for document in DOCUMENTS)
    expected = {
        "nats_per_token": ours.nats.mean(),
        "bits_per_byte": ours.nats.sum() / math.log(2) / num_bytes,
        "kl": ours.kl.mean(),
        "top1_agreement": ours.agreement.mean(),
        "acceptance": ours.acceptance.mean(),
        "accuracy": ours.correct.mean(),
    }
    for metric, value in expected.items():
        assert values[metric]["value"] == pytest.approx(value, rel=1e-6), metric
        assert values[metric]["low"] <= values[metric]["value"] <= values[metric]["high"]
    bins = equal_mass_bins(ours.confidence, bins=15)
    gaps = [abs((ours.confidence - ours.correct)[bins == one].sum()) for one in range(15)]
    assert values["ece"]["low"] < values["ece"]["value"] < values["ece"]["high"]
    assert values["ece"]["value"] == pytest.approx(sum(gaps) / len(bins), rel=1e-6)
    assert (found["documents"], found["tokens"], found["bytes"]) == (20, len(bins), num_bytes)
    assert "kl" not in found["teacher"]
    against = {
        (row["against"], row["metric"]): row["difference"]["value"] for row in found["comparisons"]
    }
    assert against["teacher", "nats_per_token"] == pytest.approx(
        ours.nats.mean() - scores[""].nats.mean(), abs=1e-6
    )
    assert against["control", "kl"] == pytest.approx(
        ours.kl.mean() - scores["rnn"].kl.mean(), abs=1e-6
    )
    assert ("teacher", "kl") not in against


def test_intervals_are_over_documents_and_not_over_tokens() -> None:
    """Tokens that say the same within a document are worth one observation, not many."""
    draw = np.random.default_rng(0)
    documents = [replace(document, trained=np.arange(15) > 0, token_ids=np.arange(15, dtype=np.int32))
                 for document in tiny_documents(40)]  # fmt: skip
    alike, apart = np.repeat(draw.normal(5, 1, 40), 14), draw.normal(5, 1, 560)

    def width(nats: np.ndarray) -> float:
        zeros = np.zeros(560)
        scores = language_scores.TokenScores(nats, zeros + 0.5, zeros)
        interval = compare_language_models(documents, teacher=scores, students={})["teacher"][
            "nats_per_token"
        ]
        return interval["high"] - interval["low"]

    assert width(alike) == pytest.approx(2 * 1.96 * alike.std() / math.sqrt(40), rel=0.15)
    assert width(apart) < 0.4 * width(alike)


def test_pieces_of_one_row_are_one_document() -> None:
    """A split row is worth one observation however many pieces it was cut into; row 0 is no row."""
    draw = np.random.default_rng(0)
    pieces = [replace(document, trained=np.arange(15) > 0, token_ids=np.arange(15, dtype=np.int32), num_bytes=30)
              for document in tiny_documents(200)]  # fmt: skip
    nats, confidence = (
        np.repeat(draw.normal(5, 1, 20), 140),
        np.repeat(draw.uniform(0.2, 0.9, 20), 140),
    )

    def judge(documents: list[Document]) -> dict[str, Any]:
        scores = language_scores.TokenScores(nats, confidence, np.zeros(len(nats)))
        return compare_language_models(documents, teacher=scores, students={"other": scores})

    split = judge(
        [
            replace(piece, source="a.jsonl", row=1 + place // 10)
            for place, piece in enumerate(pieces)
        ]
    )
    loose = judge([replace(piece, source="a.jsonl", row=0) for piece in pieces])
    assert (split["documents"], split["pieces"]) == (20, 200)
    assert (loose["documents"], loose["pieces"]) == (200, 200)
    for metric, expected in (
        ("nats_per_token", nats),
        ("bits_per_byte", nats / math.log(2) * 14 / 30),
    ):
        interval = split["teacher"][metric]
        assert interval["value"] == pytest.approx(loose["teacher"][metric]["value"], rel=1e-12)
        assert interval["high"] - interval["low"] == pytest.approx(
            2 * 1.96 * expected[::140].std() / math.sqrt(20), rel=0.15
        )
    for metric in ("nats_per_token", "ece"):
        wide, narrow = (
            found["teacher"][metric]["high"] - found["teacher"][metric]["low"]
            for found in (split, loose)
        )
        assert wide > 2 * narrow, metric


def test_one_document_is_no_sample_of_documents() -> None:
    """Of a single split row its pieces are resampled, and said to be; of a single text nothing is
    compared."""
    draw = np.random.default_rng(0)
    pieces = [replace(document, source="a.jsonl", row=1, trained=np.arange(15) > 0, num_bytes=30,
                      token_ids=np.arange(15, dtype=np.int32)) for document in tiny_documents(20)]  # fmt: skip
    nats = np.repeat(draw.normal(5, 1, 20), 14)
    scores = language_scores.TokenScores(nats, nats * 0 + 0.5, nats * 0)
    other = language_scores.TokenScores(nats + draw.normal(0, 0.1, 280), nats * 0 + 0.5, nats * 0)
    split = compare_language_models(pieces, teacher=scores, students={"one": other})
    assert (split["documents"], split["pieces"], split["bootstrap"]["unit"]) == (1, 20, "piece")
    assert split["teacher"]["nats_per_token"]["low"] < split["teacher"]["nats_per_token"]["high"]
    assert all(row["difference"]["low"] < row["difference"]["high"] for row in split["comparisons"])
    first = {"teacher": replace_nats(scores, 14), "students": {"one": replace_nats(other, 14)}}
    assert compare_language_models(pieces[:1], **first)["comparisons"] == []


def replace_nats(scores: language_scores.TokenScores, count: int) -> language_scores.TokenScores:
    return language_scores.TokenScores(
        scores.nats[:count], scores.confidence[:count], scores.correct[:count]
    )


def test_chunks_and_batches_change_nothing(
    teacher, models, scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    widest = []
    known = language_scores._logprobs
    monkeypatch.setattr(
        language_scores,
        "_logprobs",
        lambda logits, vocabulary: widest.append(len(logits)) or known(logits, vocabulary),
    )
    small = score_models(
        teacher,
        models,
        DOCUMENTS[::-1],
        batch_tokens=14,
        logits_at_once=5 * (VOCABULARY + 13),
    )
    assert max(widest) <= 5
    ends = np.cumsum([one.positions for one in DOCUMENTS[::-1]])[:-1]
    compared = 0
    for name, expected in scores.items():
        for metric in ("nats", "confidence", "correct", "kl", "agreement", "acceptance"):
            if getattr(expected, metric) is not None:
                backwards = np.split(getattr(small[name], metric), ends)[::-1]
                found = np.concatenate(backwards)
                np.testing.assert_allclose(
                    found, getattr(expected, metric), rtol=1e-4, atol=1e-4, err_msg=metric
                )
                compared += 1
    assert compared == 3 + 3 * 6  # the teacher is not compared with itself


def test_padded_rows_of_either_matrix_say_nothing(scores) -> None:
    louder, student = tiny_llama(7), tiny_student("pruned")
    with torch.no_grad():
        louder.lm_head.weight[VOCABULARY:] = 1e3
        student.lm_head.weight[VOCABULARY:] = -1e3
    found = score_models(tiny_teacher(louder), {"pruned": student}, DOCUMENTS, batch_tokens=40)
    np.testing.assert_array_equal(found[""].nats, scores[""].nats)
    np.testing.assert_array_equal(found["pruned"].kl, scores["pruned"].kl)


def test_models_are_left_in_their_mode(teacher) -> None:
    model = tiny_student("rnn", dropout=0.5).train()
    one, other = (score_models(teacher, {"rnn": model}, DOCUMENTS[:3])["rnn"] for _ in range(2))
    assert model.training
    np.testing.assert_array_equal(one.nats, other.nats)  # read without dropout


def test_scores_of_documents_are_written_in_their_order(scores, tmp_path: Path) -> None:
    silent = replace(DOCUMENTS[0], trained=DOCUMENTS[0].trained & False)
    documents = [DOCUMENTS[0], silent, *DOCUMENTS[1:]]
    write_document_scores(tmp_path / "p.parquet", documents, scores, tokenizer=TOKENIZER)
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows[1]["teacher"] is None
    assert rows[0]["teacher"] == pytest.approx(
        scores[""].nats[: DOCUMENTS[0].positions].mean(), rel=1e-5
    )
    assert rows[-1]["pruned.kl"] == pytest.approx(
        scores["pruned"].kl[-DOCUMENTS[-1].positions :].mean(), rel=1e-5
    )
    assert [row["row"] for row in rows] == [document.row for document in documents]


def test_shown_distributions_are_the_teachers_most_probable_tokens(teacher, models) -> None:
    shown = show_distributions(teacher, models, DOCUMENTS, count=4)
    assert shown == show_distributions(teacher, models, DOCUMENTS, count=4)
    assert len(shown) == 4
    for place in shown:
        assert place["teacher"] == sorted(place["teacher"], reverse=True)
        assert 0 < sum(place["teacher"]) <= 1.0
        assert place["models"]["same"] == pytest.approx(place["teacher"], abs=1e-5)
        assert len(place["tokens"]) == len(place["models"]["pruned"]) == 5
