import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.report.pages import Page, checked_identifiers
from tests.tasks.language.report.fake_run import write_fake_language_run

from tutelage.errors import DataError, RunIncomplete
from tutelage.report import write_report
from tutelage.report.formats import THIN
from tutelage.tasks.classification.report import WORDS as CLASSIFICATION_WORDS
from tutelage.tasks.language.report import WORDS

SECTIONS = {
    "verdict", "asked", "numbers", "cost", "calibration", "learning", "making", "answers", "samples", "documents",
    "comparisons", "reading", "provenance",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_fake_language_run(tmp_path_factory.mktemp("runs") / "film-reviews")


@pytest.fixture(scope="module")
def text(run):
    return write_report(run, WORDS).read_text(encoding="utf-8")


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def words_of(text):
    text = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL)
    return "".join(Page(text).words).replace(THIN, " ").replace("\u00a0", " ")


def change(run, **changes):
    """Write evaluation.json again with other values; None removes a key."""
    path = run / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in evaluation.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return run


def test_every_section_and_every_fragment_is_there(text):
    assert checked_identifiers(text) >= SECTIONS


def test_the_page_asks_nothing_of_anyone_and_hostile_texts_do_nothing(text):
    page = Page(text)
    for tag, attrs in page.tags:
        assert tag not in {
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "audio",
            "video",
            "image",
            "i",
        }
        assert not {"src", "srcset", "action", "data", "poster"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("href", "#").startswith(("#", "data:,"))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", text)
    assert "<script>alert(2)</script> …" in words_of(text)


def test_charts_are_named_and_take_their_colours_from_the_page(text):
    charts = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert (
        len(charts) == 8 + 3 + 6
    )  # four costs wide and narrow; teacher and students; three curves of two students
    for chart in charts:
        assert not re.search(r"#[0-9a-f]{6}\b(?!-)", re.sub(r'(href="#|url\(#)[^")]+', "", chart))
        assert "Qw0" not in chart
        assert re.search(r'role="img" aria-label="[^"]{20,}', chart)
    assert "teacher (teacher): 3.066 nats at 46.9" in charts[0]
    assert "tokens: share of right answers against stated confidence" in charts[8]


def test_long_training_is_drawn_in_few_points(text):
    assert (
        len(text) < 350_000
    )  # 1,200 steps in each of four logs; 412,000 characters with every step


def test_every_number_of_the_evaluation_stands_in_the_table(run, text):
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    said = words_of(text)
    models = [
        evaluation["teacher"],
        *evaluation["students"].values(),
        *evaluation["controls"].values(),
    ]
    for model in models:
        for key in ("nats_per_token", "bits_per_byte", "kl", "ece"):
            if key in model:
                assert f"{model[key]['value']:.3f}" in said
        for key in ("top1_agreement", "acceptance", "accuracy"):
            if key in model:
                assert f"{100 * model[key]['value']:.1f} %" in said
    for shown in (
        "135 M",
        "63.7 M",
        "255 MB",
        "293 MB",
        "Reading, tokens/s",
        "58.2",
        "2.7× faster",
        "17.2 ms",
    ):
        assert shown in said


def test_the_words_of_classification_are_not_there(text):
    said = words_of(text)
    for word in ("label", "test row", "accuracy of", "answers 2", "TF-IDF"):
        assert word not in said


def test_soft_targets_and_training_are_told(text):
    said = words_of(text)
    assert "61,212 in 320 documents" in said
    assert (
        "1.13 MB, 18.5 bytes per token; all 49,152 probabilities in 16 bits would take 5,330 times "
        "as much" in said
    )
    assert "3.3 exact probabilities and 8.0 drawn ones" in said
    assert "2.910 nats per token" in said
    assert "1 min 24 s, 727 tokens/s; paid once" in said
    assert "58,310" in said
    assert (
        "0.8 × forward KL divergence from the teacher + 0.2 × surprise at the text itself" in said
    )


def test_split_documents_are_counted_once_and_their_pieces_shown_as_such(copy, text):
    assert "All 40 test documents" in words_of(text)
    table = pq.read_table(copy / "predictions.parquet")
    rows = pa.array([1 + row // 4 for row in range(table.num_rows)], pa.int64())
    pq.write_table(
        table.set_column(table.column_names.index("row"), "row", rows), copy / "predictions.parquet"
    )
    said = words_of(
        write_report(change(copy, documents=10, pieces=40), WORDS).read_text(encoding="utf-8")
    )
    assert "All 40 test pieces" in said
    assert "Documents that were too long were read in pieces" in said
    assert "Only 10 test documents" in said


def test_live_targets_have_no_size(copy):
    said = words_of(
        write_report(change(copy, targets={"kind": "live"}), WORDS).read_text(encoding="utf-8")
    )
    assert "live: nothing was stored" in said
    assert "Tokens scored" not in said


def test_an_older_evaluation_still_makes_a_page(tmp_path):
    run = write_fake_language_run(
        tmp_path / "run",
        controls=False,
        cost=False,
        facts=False,
        examples=False,
        documents=12,
        training_steps=3,
    )
    (run / "provenance.json").unlink()
    shutil.rmtree(run / "students")
    text = write_report(run, WORDS).read_text(encoding="utf-8")
    identifiers = {attrs["id"] for _, attrs in Page(text).tags if "id" in attrs}
    assert not {"cost", "learning", "making", "answers", "samples"} & identifiers
    assert "There is no control" in text
    assert "Only 12 test documents" in words_of(text)


def test_hostile_student_names_are_escaped_everywhere(tmp_path):
    name = '<img src=x onerror="alert(1)"> מודל 🎉 $x^2$ ' + "long " * 20
    run = write_fake_language_run(
        tmp_path / "run", students=[name.strip()], documents=8, training_steps=6
    )
    page = Page(write_report(run, WORDS).read_text(encoding="utf-8"))
    assert "img" not in [tag for tag, _ in page.tags]
    assert "🎉" in "".join(page.words)


def test_the_same_run_gives_the_same_bytes(run, tmp_path, text):
    again = write_report(run, WORDS, out=tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == text


def test_what_is_missing_or_unknown_is_named(copy):
    change(copy, tokens=None)
    with pytest.raises(DataError, match=r"evaluation.json lacks tokens: evaluate again"):
        write_report(copy, WORDS)
    change(copy, tokens=1, task="translation")
    with pytest.raises(DataError, match=r"the task 'translation'; expected causal_lm, which"):
        write_report(copy, WORDS)
    change(copy, task="causal_lm")
    with pytest.raises(DataError, match=r"the task 'causal_lm'; expected classification, which"):
        write_report(copy, CLASSIFICATION_WORDS)
    evaluation = json.loads((copy / "evaluation.json").read_text(encoding="utf-8"))
    other = {"other": evaluation["students"]["pruned"]}
    change(copy, task="causal_lm", students=evaluation["students"] | other)
    with pytest.raises(DataError, match=r"lacks the columns students.other, students.other.kl"):
        write_report(copy, WORDS)
    (copy / "predictions.parquet").unlink()
    with pytest.raises(RunIncomplete, match=r"holds no predictions.parquet"):
        write_report(copy, WORDS)
