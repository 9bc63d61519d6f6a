"""A recipe with a served teacher from check to report, on the command line."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest
from tests.journeys.tiny_job import tutelage
from tests.teachers.api.faulty_server import LABELS, FaultyServer, decision, probabilities, serving

from tutelage import load_recipe
from tutelage.cli.main import main
from tutelage.tasks.classification.job import ClassificationJob
from tutelage.tasks.task import Student

SECRET = "sk-very-secret-0123456789"
WORDS = [
    "good",
    "fine",
    "nice",
    "awful",
    "bad",
    "poor",
    "room",
    "food",
    "staff",
    "view",
    "a",
    "was",
    "were",
    "very",
    "quite",
]
RECIPE = """\
name: served
task: {{kind: classification, labels: {{bad: "Complaints", good: "Praise", mixed: }}}}
data: {{train: train.csv, validation: validation.csv, test: test.csv}}
teacher:
  kind: api
  protocol: decisions
  model: served-1
  base_url: {url}
  api_key_env: MY_KEY
  price: {{input: 1.5, output: 6}}
  retries: 1
students: {{linear: {{kind: linear}}}}
evaluate: {{latency_examples: 5, bootstrap_samples: 100}}
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_KEY", SECRET)
    draw = random.Random(0)
    for name, count in (("train", 90), ("validation", 40), ("test", 50)):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            for number in range(count):
                text = f"{' '.join(draw.choices(WORDS, k=7))} {name}{number}"
                probs = probabilities(text)
                rows.writerow([text, LABELS[probs.index(max(probs))]])
    return tmp_path


def write(job: Path, url: str, *, more: str = "") -> None:
    text = RECIPE.format(url=url).replace("  retries: 1\n", f"  retries: 1\n{more}")
    (job / "recipe.yaml").write_text(text, "utf-8")


def refuse_some(body: dict[str, str]) -> dict[str, object]:
    refused = {"answers": [{"type": "refusal", "name": "label"}]}
    return decision(body["input"]) | (refused if body["input"].endswith("7") else {})


def test_from_check_to_report(job: Path) -> None:
    with serving(FaultyServer(reply=refuse_some)) as server:
        write(job, server.base_url)
        check = tutelage("check", "recipe.yaml", "--json", cwd=job)
        estimate = json.loads(check.stdout)["estimate"]
        assert estimate["teacher_requests"] == 180
        assert estimate["teacher_dollars"] > 0
        assert server.calls == 0, "nothing is asked by check"

        done = tutelage("run", "recipe.yaml", cwd=job)
        assert f"Texts go to {server.base_url} (served-1), with the key in MY_KEY" in done.stderr
        assert "requests/s" in done.stderr
        calls = server.calls
        assert calls == 180 + 18, "each refused text is asked about once more"
        assert "Everything had been done before" in tutelage("run", "recipe.yaml", cwd=job).stdout
        # Another student asks nobody.
        tutelage("run", "recipe.yaml", "--set", "students.linear.penalty=l1", cwd=job)
        assert server.calls == calls
        assert f"Bearer {SECRET}" in server.headers[0]

    run = job / "runs" / "served"
    provenance = json.loads((run / "provenance.json").read_text("utf-8"))
    assert provenance["answers"]["unanswered"] == {"refused": 18}
    assert provenance["answers"]["cost"] == pytest.approx(calls * (40 * 1.5 + 2 * 6) / 1e6)
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    assert evaluation["rows"] == 45
    assert evaluation["teacher"]["latency_ms_p50"]["value"] > 0
    page = (run / "report.html").read_text("utf-8")
    for words in ("How the teacher answered", "18 texts: declined by the model", "own server"):
        assert words.replace("own server", "a server of one") in page
    for path in job.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_a_key_that_a_server_repeats_is_nowhere(job: Path) -> None:
    with serving(FaultyServer(fault=lambda *_: 401)) as server:  # repeats the whole header
        write(job, server.base_url)
        done = tutelage("run", "recipe.yaml", "--traceback", cwd=job, check=None)
    assert done.returncode
    assert "is not accepted" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    for path in job.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_a_budget_ends_with_zero_and_a_larger_one_goes_on(job: Path) -> None:
    with serving(FaultyServer()) as server:
        write(job, server.base_url, more="  budget: {requests: 130}\n")
        done = tutelage("run", "recipe.yaml", cwd=job)
        assert "The budget of the teacher is spent: 130 requests" in done.stderr
        assert not (job / "runs" / "served" / "report.html").exists()
        write(job, server.base_url, more="  budget: {requests: 130, then: train}\n")
        tutelage("run", "recipe.yaml", cwd=job)
        assert server.calls == 130
        page = (job / "runs" / "served-2" / "report.html").read_text("utf-8")
        assert "50 texts: not asked: the budget was spent" in page
        write(job, server.base_url)
        tutelage("label", "recipe.yaml", cwd=job)
        assert server.calls == 180


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("http://127.0.0.1:9/v1", "https://api.example.com/v1"), "may answers of https://api.exa"),
        (("http://127.0.0.1:9/v1", "https://me:pw@api.example.com/v1"), "take it out"),
        (("http://127.0.0.1:9/v1", "api.example.com"), "is no address"),
        (("retries: 1", "terms: forbidden"), "forbid training on its answers, as this recipe says"),
        (("MY_KEY", "NOT_SET"), "NOT_SET, which api_key_env names, is empty or not set"),
        (("retries: 1", "budget: {then: stop}"), "the budget names no limit"),
        (("price: {input: 1.5, output: 6}", "budget: {cost: 3}"), "give price.input and price"),
        (("protocol: decisions", "protocol: decision"), "did you mean `decisions`?"),
        (("{kind: linear}", "{kind: rnn, embeddings: teacher}"), "has none here"),
        (("good: ", "goood: 3, good: "), "the description of goood is 3; expected some words"),
    ],
)
def test_what_cannot_be_asked_is_told_before(
    job: Path,
    change: tuple[str, str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = RECIPE.format(url="http://127.0.0.1:9/v1").replace(*change)
    (job / "recipe.yaml").write_text(text, "utf-8")
    monkeypatch.chdir(job)
    assert main(["check", "recipe.yaml"]) == 2
    told = capsys.readouterr()
    assert says in told.out + told.err
    assert not (job / "runs").exists()


def test_nobody_there_is_told_and_nothing_is_half_written(job: Path) -> None:
    write(job, "http://127.0.0.1:9/v1")
    done = tutelage("run", "recipe.yaml", cwd=job, check=1)
    assert "cannot be reached" in done.stderr
    assert "run again to go on" in done.stderr


def test_a_control_of_fewer_rows_is_not_taken_for_another(job: Path) -> None:
    """Two served teachers leave out other rows: the controls learn from other rows, too."""
    prints = []
    for url in ("http://127.0.0.1:9/v1", "http://127.0.0.1:8/v1"):
        write(job, url)
        recipe = load_recipe(job / "recipe.yaml", overrides=["evaluate.control=true"])
        made = ClassificationJob(recipe).fingerprints.students
        prints.append(made[Student("linear", is_control=True)])
    assert prints[0] != prints[1]
