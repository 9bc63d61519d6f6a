"""A finished run: the student that keeps enough answers, and cleaning takes nothing that is
needed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.journeys.tiny_job import run_here
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.cli.main import main
from tutelage.recipes.predicting import student_folder

TWO_STUDENTS = (
    "students.small={kind: rnn, hidden_size: 4, embedding_size: 4}",
    "students.gru.embeddings=teacher_contextual",
    "evaluate.control=false",
)


def test_the_preferred_student_answers_and_a_cleaned_run_is_done_and_whole(
    job: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(job)
    words = (*TWO_STUDENTS, "evaluate.prefer.keep=0.1")
    outcome = run_here(job, *words, until="report")
    run = outcome.folder.path
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    chosen = evaluation["preferred"]
    cheapest = min(
        evaluation["students"],
        key=lambda name: evaluation["students"][name]["latency_ms_p50"]["value"],
    )
    assert chosen["student"] == cheapest
    assert all(interval["low"] >= 0.1 for interval in chosen["kept"].values())
    assert student_folder(run) == run / "students" / cheapest
    # What was chosen counts, not who is better.
    assert "The cheapest student that by the lower end" in (run / "report.html").read_text("utf-8")

    (run / "students" / "gru" / "checkpoints").mkdir()
    (run / "students" / "gru" / "checkpoints" / "state.json").write_text("{}")
    assert (run / "teacher" / "embeddings").is_dir()
    capsys.readouterr()
    assert main(["clean", str(run), "--yes", "--json"]) == 0
    gone = {one["path"] for one in json.loads(capsys.readouterr().out)["items"]}
    assert gone == {"students/gru/checkpoints", "teacher/embeddings"}
    assert not (run / "teacher" / "embeddings").exists()
    assert main(["verify", str(run)]) == 0
    capsys.readouterr()
    assert main(["run", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {stage["how"] for stage in told["stages"]} == {"kept"}
    # Even where records alone do not settle it.
    for record in (run / ".stages" / "finished").glob("*.json"):
        record.unlink()
    again = run_here(job, *words, until="report")
    assert {stage.how for stage in again.stages} == {"kept"}
    assert main(["runs", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["runs"]
    assert (listed["state"], listed["student"], listed["preferred"]) == ("finished", cheapest, True)


def test_of_language_models_the_fastest_writer_that_agrees_often_enough_is_named(
    tmp_path: Path, monkeypatch
) -> None:
    # Which takes a process for each model, and seconds.
    monkeypatch.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", lambda *_: None)
    two = "half: {kind: pruned, layers: 1}\ngru: {kind: rnn, hidden_size: 16}"
    write_language_job(tmp_path, write_teacher(tmp_path / "weights"), count=24, students=two)
    words = ("evaluate.control=false", "train.epochs=1", "evaluate.prefer.keep=1e-6")
    run = run_here(tmp_path, *words, until="evaluate").folder.path
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    chosen, students = evaluation["preferred"], evaluation["students"]
    assert (chosen["measure"], chosen["cost"]) == ("top1_agreement", "tokens_per_second")
    assert chosen["kept"].keys() == students.keys()
    able = [name for name in students if chosen["kept"][name]["low"] >= 1e-6]
    assert able
    assert chosen["student"] == max(
        able, key=lambda name: students[name]["tokens_per_second"]["value"]
    )
    assert student_folder(run).name == chosen["student"]
