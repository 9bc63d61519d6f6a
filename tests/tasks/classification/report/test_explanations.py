"""What answers hang on, as the page shows it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.report.pages import Page

from tutelage.models.contributions import word_spans
from tutelage.report import write_report
from tutelage.tasks.classification.report import WORDS
from tutelage.tasks.classification.report.explanations import what_was_looked_at
from tutelage.tasks.classification.report.predictions import Predictions


def looked_at(text, label, seed):
    pushes = np.random.default_rng(seed).normal(size=len(word_spans(text))).round(4)
    return {
        "label": label,
        "words": [
            [*span, push] for span, push in zip(word_spans(text), pushes.tolist(), strict=True)
        ],
    }


@pytest.fixture
def explained(reviews, tmp_path):
    """A run whose hostile texts were explained."""
    run = tmp_path / "explained"
    shutil.copytree(reviews, run)
    texts = pq.read_table(run / "predictions.parquet")["text"].to_pylist()
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    rows = [
        {"row": row, "student": looked_at(texts[row], "neutral", row)}
        | ({"teacher": looked_at(texts[row], "positive", row + 9)} if row < 3 else {})
        for row in range(5)
    ]
    evaluation["explanations"] = {
        "strongest": {
            "gru": {"negative": [["<b>bad", 1.25]], "neutral": [], "positive": [["good", 2]]}
        },
        "disagreements": {"student": "transformer", "rows": rows},
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return run


def test_runs_of_before_are_shown_without(reviews, tmp_path):
    text = write_report(reviews, WORDS, out=tmp_path / "page.html").read_text("utf-8")
    assert 'id="explanations"' not in text
    assert "#explanations" not in text


def test_words_are_marked_and_named_and_do_nothing(explained):
    text = write_report(explained, WORDS).read_text("utf-8")
    page = Page(text)
    tags = [(tag, attrs) for tag, attrs in page.tags if "push" in attrs.get("class", "").split()]
    assert {attrs["class"] for _, attrs in tags} == {"push spoke-for", "push against"}
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "&lt;b&gt;bad" in text
    assert "z" * 501 not in text
    words = "".join(page.words)
    assert "Where teacher and transformer part most" in words
    assert "+1.25" in words
    assert "none" in words
    assert words.count("Not asked word by word here") == 2
    assert '<a href="#explanations">' in text


def test_of_a_long_text_what_fits_is_shown_and_the_strongest_words_are_named():
    text = " ".join(["word"] * 200) + " last"
    spans = word_spans(text)
    pushes = [0.01] * 200 + [-3.0]
    record = {
        "label": "b",
        "words": [[*span, push] for span, push in zip(spans, pushes, strict=True)],
    }
    found = Predictions(
        texts=[text], sources=["row 1"], gold=np.array([-1]), teacher=np.array([[1.0, 0]]),
        students={"s": np.array([[0, 1.0]])}, controls={},
    )  # fmt: skip
    evaluation = {
        "labels": ["a", "b"],
        "students": {"s": {}},
        "explanations": {
            "disagreements": {"student": "s", "rows": [{"row": 0, "student": record}]}
        },
    }
    (row,) = what_was_looked_at(evaluation, found)
    teacher, view = row.views
    assert (teacher.label, teacher.pieces) == ("a", [])
    assert sum(len(piece.text) for piece in view.pieces) == 501
    assert view.against == [("last", "−3.00")]
    assert not any(piece.share for piece in view.pieces)  # all too weak beside the last word
    assert row.gold is None
