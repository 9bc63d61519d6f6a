"""Traffic that a server kept becomes the next student, certified on what nobody learned from."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tests.journeys.test_recorded import job
from tests.journeys.tiny_job import LABELS, run_here, sentences

from tutelage.cli.main import main
from tutelage.errors import DataError
from tutelage.recipes.traffic import read_traffic


def exchange(text: str, label: str, *, drawn: bool = True, asked: str = "Which?") -> str:
    probs = [{"value": one, "probability": 0.9 if one == label else 0.05} for one in LABELS]
    record = {
        "why": "shadow" if drawn else "unsure",
        "drawn": drawn,
        "request": {
            "model": "big",
            "input": text,
            "questions": [
                {
                    "type": "choice",
                    "instructions": asked,
                    "choices": [{"value": one} for one in LABELS],
                }
            ],
        },
        "response": {
            "model": "big",
            "answers": [{"type": "choice", "choice": label, "probabilities": probs}],
        },
    }
    return json.dumps(record)


def record(folder: Path, lines: list[str]) -> Path:
    folder.mkdir()
    (folder / "traffic-20261130T000000-1.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = job(tmp_path_factory.mktemp("served"))
    run_here(folder, until="report")
    return folder


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    code = main(words)
    said = json.loads(capsys.readouterr().out)
    assert "error" not in said, said
    return code, said


def test_the_next_student_is_certified_on_what_nobody_learned_from(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(2)
    rows = [
        (f"{text} number {chance.randint(0, 999)}", label) for text, label in sentences(500, seed=7)
    ]
    lines = [
        exchange(text, label, drawn=place % 5 != 0) for place, (text, label) in enumerate(rows)
    ]
    lines += ["half a line", exchange("other", "x").replace("negative", "unknown")]
    traffic = record(tmp_path / "traffic", lines)
    run = finished / "runs" / "tiny"
    words = ["retrain", str(run), "--traffic", str(traffic), "--disagreement", "0.1", "--json"]
    words += ["--service", str(tmp_path / "service"), "--promote"]
    code, found = told(words, capsys)
    texts = {text for text, _ in rows}
    used = found["texts"]["learned"] + found["texts"]["certified_with"]
    assert 0.8 * len(texts) < used < len(texts)  # forwarded ones that might certify are left out
    assert found["texts"]["before"] == 120
    assert found["candidate"]["rows"] == found["texts"]["certified_with"] > 100
    assert found["current"]["file"] is None  # it was never exported
    assert (code, found["better"]) == (0, True)
    assert found["promoted"] is not None
    assert (tmp_path / "service" / "current.json").is_file()
    held = {
        json.loads(line)["text"]
        for line in next(Path(found["run"]).parent.glob("retraining/tiny/*/held_out.jsonl"))
        .read_text("utf-8")
        .splitlines()
    }
    learned = {
        json.loads(line)["text"]
        for line in next(Path(found["run"]).parent.glob("retraining/tiny/*/texts.jsonl"))
        .read_text("utf-8")
        .splitlines()
    }
    assert not held & learned

    # Of the student that serves now, this run does not know what it learned from.
    assert main(words) == 2
    assert "is no export of" in capsys.readouterr().out

    # Without a service the same traffic leads to the same run, and nothing is trained again.
    code, again = told(words[:-3], capsys)
    assert (again["run"], code, again["promoted"]) == (found["run"], 0, None)


def test_too_little_traffic_is_told_before_anything_is_trained(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [exchange(f"a new text of number {place}", "positive") for place in range(40)]
    traffic = record(tmp_path / "traffic", lines)
    run = finished / "runs" / "tiny"
    assert main(["retrain", str(run), "--traffic", str(traffic), "--disagreement", "0.02"]) == 2
    assert "that takes 149 rows" in capsys.readouterr().err
    assert len(list((finished / "runs").glob("tiny-*"))) <= 1  # of the test before


def test_traffic_about_other_labels_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no traffic"):
        read_traffic(tmp_path, LABELS)
    traffic = record(tmp_path / "traffic", [exchange("a text", "positive")])
    with pytest.raises(DataError, match="none answers a choice among spam, ham"):
        read_traffic(traffic, ("spam", "ham"))
    found = read_traffic(traffic, LABELS)
    assert (found.drawn.texts, found.forwarded.texts, found.lines) == (["a text"], [], 1)
    assert found.drawn.probs[0, list(LABELS).index("positive")] == pytest.approx(0.9)


def test_answers_to_another_question_are_left_out(tmp_path: Path) -> None:
    lines = [
        exchange("one", "positive", asked="How is  it?"),
        exchange("two", "negative", asked="Is it urgent?"),
    ]
    both = json.loads(lines[0])
    both["request"]["questions"] *= 2
    traffic = record(tmp_path / "traffic", [*lines, json.dumps(both)])
    found = read_traffic(traffic, LABELS, instructions="How is it?")
    assert (found.drawn.texts, found.unread) == (["one"], 2)
    assert len(read_traffic(traffic, LABELS).drawn.texts) == 2
