"""lm-eval reads the folders of students, and finds the bits per byte that tutelage found; no hub,
no network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.journeys.tiny_language_job import write_language_job, write_teacher

from tutelage.evaluate.tokens.scores import score_models
from tutelage.models import load_language_model, load_language_student
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run as run_recipe
from tutelage.tasks.language.data import prepare_language_data, teacher_tokenizer
from tutelage.teachers import CausalTeacher

pytest.importorskip("lm_eval", reason="lm-eval is not installed (pip install 'tutelage[lm-eval]')")

TASKS = Path(__file__).parents[2] / "examples" / "lm_eval"
STUDENTS = """half: {kind: pruned, layers: 1}
              gru: {kind: rnn, cell: gru, hidden_size: 16, embedding_size: 12}"""
MORE = ["naïve café, très bon ☕", "two lines\nof a text,  and  spaces"]
"""More bytes than characters, and more than one white space."""
FROM_PYTHON = """
import json, sys
import lm_eval
import tutelage
from lm_eval.tasks import TaskManager

tutelage.register()
folder, tasks = sys.argv[1:]
results = {}
for student, batch_size in (("half", 1), ("gru", 4)):
    results[student] = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": f"{folder}/{student}", "dtype": "float32"},
        tasks=["documents", "documents_with_end"],
        task_manager=TaskManager(include_path=tasks, include_defaults=False),
        batch_size=batch_size,
        device="cpu",
    )["results"]
print(json.dumps(results))
"""


def say(*command: object, cwd: Path) -> str:
    """What a program says that can fetch nothing and shares no settings with this process."""
    environment = {
        **os.environ,
        "HF_HOME": str(cwd / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with test.jsonl and a finished run of a pruned and a recurrent student."""
    folder = tmp_path_factory.mktemp("lm_eval")
    write_teacher(folder / "teacher")
    drop_rows_without_token(folder / "teacher")
    path = write_language_job(folder, folder / "teacher", students=STUDENTS)
    with (folder / "test.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in MORE)
    recipe: Any = load_recipe(path, overrides=["evaluate.control=false"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", lambda *_: None)
        run_recipe(recipe, root=folder / "runs", until="evaluate")
    return folder


def drop_rows_without_token(folder: Path) -> None:
    """Cut a model's matrices to its tokens: lm-eval gives probability to further rows, tutelage
    does not."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
    model.save_pretrained(folder)


def nats_without_the_ends(job: Path, student: str) -> float:
    """What the texts cost by tutelage's own count, less the last token of each, which says that the
    text ends."""
    recipe: Any = load_recipe(job / "recipe.yaml")
    documents = prepare_language_data(recipe, teacher_tokenizer(recipe)).test
    teacher = CausalTeacher(
        load_language_model(str(job / "teacher"), dtype="float32"), sequence_length=96
    )
    model = load_language_student(job / "runs" / "tiny" / "students" / student)
    nats = score_models(teacher, {student: model}, documents)[student].nats
    return float(
        nats.sum() - nats[np.cumsum([document.positions for document in documents]) - 1].sum()
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_from_python_the_numbers_are_those_of_tutelage(job: Path) -> None:
    """With the end token exactly those of evaluation.json, without it those of all tokens but the
    last."""
    run = job / "runs" / "tiny"
    found = json.loads(say("-c", FROM_PYTHON, run / "students", TASKS, cwd=job).splitlines()[-1])
    evaluation = json.loads((run / "evaluation.json").read_text("utf-8"))
    texts = [
        json.loads(line)["text"] for line in (job / "test.jsonl").read_text("utf-8").splitlines()
    ]
    num_bytes = sum(len(text.encode("utf-8")) for text in texts)
    num_words = sum(len(re.split(r"\s+", text)) for text in texts)
    assert num_bytes == evaluation["bytes"]
    for student in ("half", "gru"):
        ours = evaluation["students"][student]["bits_per_byte"]["value"]
        with_end, without = found[student]["documents_with_end"], found[student]["documents"]
        assert (
            with_end["sample_len"] == without["sample_len"] == evaluation["documents"] == len(texts)
        )
        assert with_end["bits_per_byte,none"] == pytest.approx(ours, abs=1e-3)

        nats = nats_without_the_ends(job, student)
        assert without["bits_per_byte,none"] == pytest.approx(nats / log(2) / num_bytes, abs=1e-3)
        assert without["byte_perplexity,none"] == pytest.approx(exp(nats / num_bytes), rel=1e-3)
        assert without["word_perplexity,none"] == pytest.approx(exp(nats / num_words), rel=1e-3)
        assert without["bits_per_byte,none"] < ours - 0.05  # the ends cost something


@pytest.mark.slow
def test_the_command_line_reads_a_student(job: Path) -> None:
    """As `lm_eval` itself, which knows nothing of tutelage."""
    run = job / "runs" / "tiny"
    words = [
        "--model",
        "hf",
        "--model_args",
        f"pretrained={run / 'students' / 'half'},dtype=float32",
    ]
    words += ["--tasks", "documents_with_end", "--include_path", str(TASKS), "--device", "cpu"]
    say("-m", "lm_eval", *words, "--output_path", job / "half.json", cwd=job)
    (written,) = job.glob("half_*.json")
    found = json.loads(written.read_text("utf-8"))["results"]["documents_with_end"][
        "bits_per_byte,none"
    ]
    ours = json.loads((run / "evaluation.json").read_text("utf-8"))["students"]["half"][
        "bits_per_byte"
    ]["value"]
    assert found == pytest.approx(ours, abs=1e-3)
