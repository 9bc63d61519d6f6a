import dataclasses
import json
import re
import shutil

import pytest
from tests.report.pages import Page, checked_identifiers

from tutelage.errors import DataError, RunIncomplete, ShapeMismatch
from tutelage.report import write_report
from tutelage.tasks.classification.report import WORDS


@pytest.fixture(scope="module")
def text(reviews, tmp_path_factory):
    return write_report(reviews, WORDS, out=tmp_path_factory.mktemp("out") / "page.html").read_text(
        encoding="utf-8"
    )


def test_the_page_asks_nothing_of_anyone(text):
    page = Page(text)
    for tag, attrs in page.tags:
        assert tag not in {"img", "iframe", "object", "embed", "base", "audio", "video", "image"}
        for name in ("src", "srcset", "action", "data", "poster", "xlink:href"):
            assert name not in attrs
        assert attrs.get("href", "#").startswith(("#", "data:,"))
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    assert re.findall(r"https?://\S+", text) == ["http://evil.invalid/a.png&#34;"] * text.count(
        "evil.invalid"
    )


def test_hostile_texts_are_shown_and_do_nothing(text):
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "&lt;script&gt;alert(&#34;x&#34;)" in text
    words = "".join(page.words)
    assert "{{ 7 * 7 }}" in words
    assert "😡" in words
    assert "z" * 501 not in text


def test_every_section_and_every_fragment_is_there(text):
    identifiers = checked_identifiers(text)
    wanted = {
        "verdict",
        "asked",
        "numbers",
        "cost",
        "calibration",
        "learning",
        "answers",
        "confusion",
    }
    assert wanted | {"disagreements", "comparisons", "reading", "provenance"} <= identifiers


def test_charts_take_their_colours_from_the_page(text):
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(charts) == 6 + 3 + 6 + 1
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{6}\b(?!-)", re.sub(r'(href="#|url\(#)[^")]+', "", chart))
        assert "Qw0" not in chart
        assert re.search(r'role="img" aria-label="[^"]{20,}', chart)
    assert "var(--series-1)" in charts[0]
    assert ">transformer</text>" in charts[0]


def test_a_control_is_trained_on_labels_alone_not_without_something(text):
    assert "by step, trained on soft targets and on labels alone." in text
    assert "dashed: on labels alone" in text
    assert "without the teacher" not in text


def test_the_same_run_gives_the_same_bytes(reviews, tmp_path):
    first = write_report(reviews, WORDS, out=tmp_path / "a.html").read_bytes()
    assert write_report(reviews, WORDS, out=tmp_path / "b.html").read_bytes() == first
    assert write_report(reviews, WORDS) == reviews / "report.html"


def test_many_labels_and_six_students(fake_run, tmp_path):
    labels = [f"intent {index} & <i>more</i>" for index in range(77)]
    students = [f"student-{index}" for index in range(6)]
    run = fake_run(
        tmp_path / "run", labels=labels, students=students, rows=160, bootstrap_samples=10
    )
    text = write_report(run, WORDS).read_text(encoding="utf-8")
    Page(text)
    assert "With 77 labels, the commonest mix-ups of each model" in text
    assert "<i>" not in text
    assert len(text) < 3_000_000


def test_two_labels_no_control_no_gold_no_cost(fake_run, tmp_path):
    run = fake_run(
        tmp_path / "run",
        labels=["no", "yes"],
        students=["gru"],
        controls=False,
        labelled=False,
        cost=False,
        rows=30,
        bootstrap_samples=10,
    )
    text = write_report(run, WORDS).read_text(encoding="utf-8")
    Page(text)
    assert "No test row carries a gold label" in text
    assert 'id="cost"' not in text
    assert 'id="calibration"' not in text


def test_hostile_student_names_are_escaped_everywhere(fake_run, tmp_path):
    name = '<img src=x onerror="alert(1)"> מודל 🎉 $x^2$ ' + "long " * 20
    run = fake_run(tmp_path / "run", students=[name.strip()], rows=40, bootstrap_samples=10)
    page = Page(write_report(run, WORDS).read_text(encoding="utf-8"))
    assert "img" not in [tag for tag, _ in page.tags]
    assert "🎉" in "".join(page.words)


def test_only_the_widest_gaps_are_kept_and_the_page_says_so(fake_run, tmp_path):
    run = fake_run(tmp_path / "run", rows=80, bootstrap_samples=10)
    words = dataclasses.replace(WORDS, disagreement_cap=5)
    text = write_report(run, words).read_text(encoding="utf-8")
    assert "This page holds the 5 with the widest gap" in text
    assert len(re.findall(r"<li data-teacher=", text)) == 5


def test_missing_and_broken_files_are_named(reviews, tmp_path):
    for name in ("recipe.yaml", "evaluation.json", "predictions.parquet"):
        run = tmp_path / name
        shutil.copytree(reviews, run)
        (run / name).unlink()
        with pytest.raises(RunIncomplete, match=f"holds no {name}.*tutelage run"):
            write_report(run, WORDS)
    run = tmp_path / "broken"
    shutil.copytree(reviews, run)
    whole = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    (run / "evaluation.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"evaluation.json is not JSON .*evaluate the run again"):
        write_report(run, WORDS)
    (run / "evaluation.json").write_text(
        json.dumps(whole | {"labels": ["negative", "neutral"]}), encoding="utf-8"
    )
    with pytest.raises(DataError, match="holds the label 'positive'"):
        write_report(run, WORDS)
    (run / "evaluation.json").write_text(
        json.dumps(whole | {"labels": [*whole["labels"], "other"]}), encoding="utf-8"
    )
    with pytest.raises(ShapeMismatch, match=r"720 probabilities for 240 rows and 4 labels"):
        write_report(run, WORDS)


def test_provenance_and_curves_may_be_missing(reviews, tmp_path):
    run = tmp_path / "bare"
    shutil.copytree(reviews, run)
    (run / "provenance.json").unlink()
    shutil.rmtree(run / "students")
    shutil.rmtree(run / "controls")
    text = write_report(run, WORDS).read_text(encoding="utf-8")
    assert 'id="learning"' not in text
    assert "<title>bare: distillation report</title>" in text
