"""Answers that somebody has: every form is understood, and what is not understood is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError, ModelError
from tutelage.targets import TargetStore, TargetWriter
from tutelage.teachers.labelling import label
from tutelage.teachers.recorded.reading import Recorded, Understanding, read_recorded
from tutelage.teachers.recorded.spec import RecordedTeacherSpec
from tutelage.teachers.spec import ClassAssignment
from tutelage.types import Example, example_id

LABELS = ("bad", "fair", "good")


def written(folder: Path, text: str, name: str = "answers.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def understood(path: Path, labels: Any = LABELS, **how: Any) -> Recorded:
    found, problems = read_recorded(path, labels, Understanding(**how))
    assert problems == []
    assert found is not None
    return found


def told(path: Path, labels: Any = LABELS, **how: Any) -> list[str]:
    return [str(one) for one in read_recorded(path, labels, Understanding(**how))[1]]


def answers(found: Recorded) -> dict[str, list[float]]:
    assert found.texts is not None
    assert [example_id(text) for text in found.texts] == found.ids
    return {
        text: [round(float(prob), 4) for prob in probs]
        for text, probs in zip(found.texts, found.probs, strict=True)
    }


SHARES = {"one": [0.2, 0.3, 0.5], "two": [0.0, 0.0, 1.0]}


@pytest.mark.parametrize(
    ("text", "name", "how"),
    [
        ("text,p_good,p_bad,p_fair\none,0.5,0.2,0.3\ntwo,1,0,0\n", "a.csv", {}),
        ("text,good,bad,fair\none,0.5,0.2,0.3\ntwo,1,0,0\n", "a.csv", {}),
        ("text\tprob_good\tprob_bad\tprob_fair\none\t50\t20\t30\ntwo\t100%\t0\t0\n", "a.tsv", {}),
        (
            "text,x,y,z\none,0.2,0.3,0.5\ntwo,0,0,1\n",
            "a.csv",
            {"form": "probabilities", "columns": {"good": "z", "bad": "x", "fair": "y"}},
        ),
        (
            lines(
                {"text": "one", "probs": {"good": 0.5, "bad": 0.2, "fair": 0.3}},
                {"text": "two", "probs": {"good": 1}},
            ),
            "a.jsonl",
            {},
        ),
        (
            'text,said\none,"{""good"": 0.5, ""bad"": 0.2, ""fair"": 0.3}"\ntwo,"{""good"": 1}"\n',
            "a.csv",
            {"answer_field": "said", "form": "probabilities"},
        ),
    ],
)
def test_probabilities_are_found_by_name(
    tmp_path: Path, text: str, name: str, how: dict[str, Any]
) -> None:
    found = understood(written(tmp_path, text, name), **how)
    assert (found.form, found.labels, found.rows) == ("probabilities", LABELS, 2)
    assert found.percentages is (name == "a.tsv")
    assert answers(found) == SHARES


def test_probabilities_of_parquet_are_found_in_columns_and_in_one(tmp_path: Path) -> None:
    both = {
        "text": ["one", "two"],
        "probabilities": [{"good": 0.5, "bad": 0.2, "fair": 0.3}, {"good": 1.0}],
    }
    pq.write_table(pa.table(both), tmp_path / "one.parquet")
    assert answers(understood(tmp_path / "one.parquet")) == SHARES
    apart = {"text": ["one", "two"], "p_bad": [0.2, 0.0], "p_fair": [0.3, 0.0], "p_good": [0.5, 1]}
    pq.write_table(pa.table(apart), tmp_path / "each.parquet")
    assert answers(understood(tmp_path / "each.parquet", labels=None)) == SHARES


VOTES = {"one": [0, 3, 0], "two": [0, 1, 2]}


@pytest.mark.parametrize(
    ("text", "name", "how"),
    [
        ("text,votes_bad,votes_fair,votes_good\none,0,3,0\ntwo,,1,2\nnone,0,0,0\n", "a.csv", {}),
        ("text,bad,fair,good\none,0,3,0\ntwo,0,1,2\n", "a.csv", {"form": "votes"}),
        ("text,votes\none,fair|fair|fair\ntwo,good;fair;good\n", "a.csv", {}),
        (
            lines(
                {"text": "one", "annotations": ["fair", "fair", "fair"]},
                {"text": "two", "annotations": ["good", "fair", "good"]},
            ),
            "a.jsonl",
            {},
        ),
        (
            lines({"text": "one", "votes": {"fair": 3}}, {"text": "two", "votes": {"good": 2, "fair": 1}}),
            "a.jsonl",
            {},
        ),
        ("text,label\none,fair\ntwo,good\none,fair\ntwo,fair\none,fair\ntwo,good\n", "a.csv", {}),
    ],
)  # fmt: skip
def test_votes_are_counted_and_smoothed(
    tmp_path: Path, text: str, name: str, how: dict[str, Any]
) -> None:
    found = understood(written(tmp_path, text, name), **how)
    assert (found.form, found.smoothing) == ("votes", 0.5)
    assert answers(found) == {
        one: [round((count + 0.5) / 4.5, 4) for count in counts] for one, counts in VOTES.items()
    }


def test_labels_alone_are_hardly_soft(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\none,fair\ntwo,good\nthree,\n")
    found = understood(path)
    assert (found.form, found.unanswered) == ("labels", 1)
    part = 0.1 / 3 / 1.1
    assert answers(found)["one"] == [round(part, 4), round(1 - 2 * part, 4), round(part, 4)]
    assert answers(understood(path, smoothing=0.0))["two"] == [0, 0, 1]


def test_labels_that_are_votes_are_said_to_be(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\none,fair\ntwo,good\n")
    found = understood(path, form="votes")
    assert (found.form, found.smoothing) == ("votes", 0.5)
    assert answers(found)["one"] == [0.2, 0.6, 0.2]
    twice = written(tmp_path, "text,label\none,fair\none,good\ntwo,bad\ntwo,bad\n")
    assert understood(twice).form == "votes"
    kept = understood(twice, form="labels")
    assert (kept.form, kept.contradicting) == ("labels", 1)


def test_labels_are_found_where_none_are_given(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\none,fair\ntwo,bad\n")
    assert understood(path, labels=None).labels == ("bad", "fair")


def test_a_store_is_found_by_the_names_of_its_labels(tmp_path: Path) -> None:
    with TargetWriter.open(
        tmp_path / "run" / "targets", kind="class_probabilities", teacher="t",
        labels=("good", "bad", "fair"), seed=0,
    ) as writer:  # fmt: skip
        writer.add([example_id("one")], np.array([[0.5, 0.2, 0.3]], np.float32))
        writer.finish()
    for path in (tmp_path / "run", tmp_path / "run" / "targets"):
        found = understood(path)
        assert (found.form, found.texts, found.ids) == ("store", None, [example_id("one")])
        assert found.probs[0] == pytest.approx([0.2, 0.3, 0.5])
    assert told(tmp_path / "run", labels=("good", "bad", "fairly")) == [
        f"run: {tmp_path}/run/targets was written for the labels good, bad, fair, but good, bad, "
        "fairly are asked for; did you mean `fair`?: expected the same ones, in any order"
    ]
    assert "no soft targets" in told(tmp_path)[0]


def test_distributions_of_one_text_that_differ_are_averaged_and_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "text,p_bad,p_fair,p_good\none,0.2,0.3,0.5\none,0.4,0.3,0.3\ntwo,1,0,0\ntwo,1,0,0\n",
    )
    found = understood(path)
    assert answers(found) == {"one": [0.3, 0.3, 0.4], "two": [1, 0, 0]}
    assert (found.rows, found.repeated, found.contradicting) == (4, 2, 1)


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "text,p_bad,p_fair,p_good\none,0.2,0.3,0.5\ntwo,0.2,0.2,0.2\nthree,nan,0,1\n"
        "four,-0.5,0.5,1\nfive,much,0,1\n,0,0,1\nsix,,0,1\nseven,,,\n",
    )
    found, _ = read_recorded(path, LABELS)
    assert found is not None
    assert (answers(found), found.unanswered) == ({"one": [0.2, 0.3, 0.5]}, 1)
    assert told(path) == [
        "answers.csv, row 6: `text` is empty; delete the row or fill it in",
        "answers.csv, row 3: `p_bad` is 'nan'; expected a probability",
        "answers.csv, row 5: `p_bad` is 'much'; expected a probability",
        "answers.csv, row 4: `p_bad` is '-0.5', below 0",
        "answers.csv, row 7: `p_bad` is empty, but other labels have a probability; fill it in",
        "answers.csv, row 2: the probabilities in `p_bad`, `p_fair`, `p_good` sum to 0.6; expected "
        "1 (or 100 in every row)",
    ]


@pytest.mark.parametrize(
    ("text", "name", "how", "message"),
    [
        ("text,bad,fair,good\none,1,3,4\n", "a.csv", {}, "sum to 8; .*if they are votes, say form: votes"),
        ("text,votes_bad,votes_fair,votes_good\none,0.5,1,0\n", "a.csv", {}, "a part|whole numbers"),
        (lines({"text": "one", "probs": {"good": 0.5, "god": 0.5}}), "a.jsonl", {}, "'god' is not one of .*did you mean `good`"),
        (lines({"text": "one", "probs": {"good": True}}), "a.jsonl", {}, "`probs.good` is True; expected a prob"),
        (lines({"text": "one", "probs": "{good: 1}"}), "a.jsonl", {}, "which is no JSON"),
        (lines({"text": "one", "probs": 0.5}), "a.jsonl", {}, "expected the probability of each label"),
        ("text,votes\none,good|gud\n", "a.csv", {}, "'gud' is not one of"),
        ("text,label\none,good\ntwo,great\n", "a.csv", {}, "row 2: the label 'great' is not one of"),
        ("text,mood\none,good\n", "a.csv", {}, "no answers were found in the columns `text`, `mood`; expected"),
        ("text,p_good,p_bad\none,0.5,0.5\n", "a.csv", {}, "There is none for fair"),
        ("text,mood\none,good\n", "a.csv", {"answer_field": "mod"}, "no column `mod`; did you mean `mood`"),
        ("txt,label\none,good\n", "a.csv", {}, "no column `text`; did you mean `txt`.*text_field"),
        ("text,x\none,1\n", "a.csv", {"form": "votes", "columns": {"good": "x"}}, "names none for bad, fair"),
        ("text,x\none,1\n", "a.csv", {"form": "votes", "columns": dict.fromkeys((*LABELS, "worst"), "x")}, "one for worst, which is no label"),
        ("text,x\none,1\n", "a.csv", {"form": "votes", "columns": dict.fromkeys(LABELS, "y")}, "no column `y`"),
        ("text,label\none,\n", "a.csv", {}, "no row has an answer"),
        ("", "a.csv", {}, "the file is empty"),
        ("text,label\none,good\n", "a.txt", {}, "expected .csv, .tsv, .jsonl, .parquet"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told(
    tmp_path: Path, text: str, name: str, how: dict[str, Any], message: str
) -> None:
    found = told(written(tmp_path, text, name), **how)
    assert any(re.search(message, one) for one in found), found


def test_one_label_alone_is_no_teacher(tmp_path: Path) -> None:
    path = written(tmp_path, "text,label\none,good\n")
    assert "speak of one label, good" in told(path, labels=None)[0]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.tuples(*[st.integers(0, 9)] * 3)),
        min_size=1, max_size=8,
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
)  # fmt: skip
def test_no_order_of_rows_columns_or_labels_shows(
    tmp_path: Path, rows: list[tuple[str, tuple[int, ...]]], chance: Any, votes: bool
) -> None:
    rows = [(text, numbers) for text, numbers in rows if sum(numbers)] or [("a", (1, 2, 3))]
    prefix = "votes_" if votes else "p_"
    records = [
        {"text": text}
        | {
            f"{prefix}{label}": number if votes else number / sum(numbers)
            for label, number in zip(LABELS, numbers, strict=True)
        }
        for text, numbers in rows
    ]
    first = understood(written(tmp_path, lines(*records), "a.jsonl"))
    chance.shuffle(records)
    shuffled = [dict(chance.sample(list(one.items()), len(one))) for one in records]
    labels = tuple(chance.sample(LABELS, 3))
    second = understood(written(tmp_path, lines(*shuffled), "b.jsonl"), labels=labels)
    assert second.ids == first.ids
    order = [labels.index(one) for one in LABELS]
    assert (second.probs[:, order] == first.probs).all()
    assert first.probs.sum(axis=1) == pytest.approx(np.ones(len(first.ids)))


ROWS = [Example(text, source="train.csv", row=row) for row, text in enumerate("abcd", start=1)]
ASSIGNMENT = ClassAssignment(LABELS, ROWS[:3], besides=ROWS[3:])


def spec(folder: Path, texts: str, **options: Any) -> RecordedTeacherSpec:
    rows = "".join(f"{text},0.2,0.3,0.5\n" for text in texts)
    file = written(folder, f"text,p_bad,p_fair,p_good\n{rows}")
    return RecordedTeacherSpec(file=file, **options)


def test_texts_without_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    some = spec(tmp_path, "abd")
    (problem,) = some.problems(ASSIGNMENT)
    assert (problem.where, problem.severity) == ("missing", "warning")
    assert problem.message == (
        "answers.csv has no answer for 1 of 4 texts, the first of them 'c' (train.csv, row 3); "
        "they are left out"
    )
    teacher = some.load(tmp_path, ASSIGNMENT)
    store = label(teacher, ROWS, out=tmp_path / "targets")
    assert len(store) == 3
    assert teacher.unanswered == {example_id("c"): "not recorded"}
    assert TargetStore.open(tmp_path / "targets").lookup([example_id("d")])[0] == pytest.approx(
        [0.2, 0.3, 0.5]
    )
    with pytest.raises(DataError, match="no answer for 1 of 4 texts"):
        teacher.label(ROWS)


def test_missing_answers_can_be_refused(tmp_path: Path) -> None:
    strict = spec(tmp_path, "abd", missing="refuse")
    (problem,) = strict.problems(ASSIGNMENT)
    assert (problem.where, problem.severity) == ("missing", "error")
    with pytest.raises(DataError, match="no answer for 1 of 4"):
        list(strict.load(tmp_path, ASSIGNMENT).answers(ROWS))
    assert spec(tmp_path, "abcd", missing="refuse").problems(ASSIGNMENT) == []


def test_a_file_about_other_texts_is_refused_with_a_text_of_each_side(tmp_path: Path) -> None:
    other = spec(tmp_path, "xy")
    (problem,) = other.problems(ASSIGNMENT)
    assert problem.where == "file"
    assert problem.severity == "error"
    assert "'a' (train.csv, row 1)" in problem.message
    assert "such as 'x'" in problem.message or "such as 'y'" in problem.message
    with pytest.raises(DataError, match="no answer for any of the 4 texts"):
        list(other.load(tmp_path, ASSIGNMENT).answers(ROWS))


def test_texts_that_were_made_are_told_apart(tmp_path: Path) -> None:
    made = [*ROWS, Example("a b", source="augmented", row=1)]
    said: list[str] = []

    class Heard:
        def bar(self, *_: Any, **__: Any) -> Any:
            raise AssertionError

        def say(self, message: str) -> None:
            said.append(message)

    teacher = spec(tmp_path, "abcd").load(tmp_path, ASSIGNMENT)
    list(teacher.answers(made, progress=Heard()))
    assert "1 of them were made by data.augment" in said[0]


def test_a_fingerprint_follows_bytes_and_options_but_not_the_name(tmp_path: Path) -> None:
    first = spec(tmp_path, "abcd")
    name = first.fingerprint(ASSIGNMENT)
    assert first.file is not None
    moved = first.file.rename(tmp_path / "moved.csv")
    assert RecordedTeacherSpec(file=moved).fingerprint(ASSIGNMENT) == name
    assert RecordedTeacherSpec(file=moved, missing="refuse").fingerprint(ASSIGNMENT) == name
    assert RecordedTeacherSpec(file=moved, form="probabilities").fingerprint(ASSIGNMENT) != name
    assert spec(tmp_path, "abce").fingerprint(ASSIGNMENT) != name
    other = ClassAssignment(tuple(reversed(LABELS)), ROWS)
    assert RecordedTeacherSpec(file=moved).fingerprint(other) != name


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    absent = RecordedTeacherSpec(file=tmp_path / "nowhere.csv")
    (problem,) = absent.problems(ClassAssignment(LABELS))
    assert problem.where == "file"
    assert "no such file" in problem.message
    with pytest.raises(ModelError, match=r"nowhere\.csv cannot be read .*teacher\.file"):
        absent.sources(ASSIGNMENT)


def test_a_model_is_nowhere(tmp_path: Path) -> None:
    one = spec(tmp_path, "abcd")
    assert not one.has_weights
    assert not one.needs_labels
    assert one.facts(ASSIGNMENT) is None
    assert one.tokenizer(ASSIGNMENT) is None
    effort = one.estimate(ASSIGNMENT, texts=4, tokens=10.0, rate=1.0)
    assert (effort.tokens, effort.seconds, effort.dollars) == (0.0, 0.0, 0.0)
    facts = one.make(ASSIGNMENT, out=tmp_path)
    assert facts["description"] == "answers recorded in answers.csv: probabilities of 4 texts"
    assert json.loads((tmp_path / "recorded.json").read_text())["texts"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"good": "x"}}, "say form: probabilities or form: votes"),
        ({"columns": {"good": "x"}, "answer_field": "y", "form": "votes"}, "keep one of them"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecordedTeacherSpec(file=Path("a.csv"), **options).check_together()
