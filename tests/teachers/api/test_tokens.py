"""The likeliest tokens from a server: what is asked, what a reply means, what is refused."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.journeys.tiny_language_job import write_teacher
from tests.teachers.api.faulty_server import FaultyServer, serving
from tests.teachers.api.token_server import Bigrams, K, documents, teacher_of

from tutelage.errors import BudgetSpent, ModelError
from tutelage.models import load_tokenizer
from tutelage.teachers.api.journal import FILE
from tutelage.teachers.api.money import Budget
from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.api.protocols.tokens import PROBES, TokenCompletions
from tutelage.teachers.causal.drawing import keep_top_k
from tutelage.teachers.labelling import label_served_documents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Bigrams:
    return Bigrams(load_tokenizer(str(folder)))


def asking(model: Bigrams, k: int = K) -> TokenCompletions:
    return TokenCompletions(
        "served-1",
        k,
        vocabulary=len(model.tokenizer),
        cut=lambda text: model.tokenizer(text, add_special_tokens=False)["input_ids"],
    )


def test_targets_are_those_of_the_model_itself(
    folder: Path, model: Bigrams, tmp_path: Path
) -> None:
    texts = documents(model.tokenizer, 12)
    with serving(FaultyServer(reply=model.reply)) as server:
        teacher = teacher_of(server.base_url, folder, tmp_path)
        found = {
            place: one
            for batch in teacher.answers(texts)
            for place, one in zip(*batch, strict=True)
        }
    for place, document in enumerate(texts):
        lasts = document.token_ids[:-1][document.trained[1:]]
        logits = np.stack([model.logprobs(int(last)) for last in lasts])[:, : teacher.vocabulary]
        own, there = keep_top_k(torch.from_numpy(logits).float(), K), found[place]
        np.testing.assert_array_equal(there.ids, own.ids)
        np.testing.assert_allclose(there.logprobs, own.logprobs, atol=2e-5)
        np.testing.assert_array_equal(there.counts, own.counts)
        # What the best lack to 1 stays the tail's: it is not spread over them.
        kept = np.exp(there.logprobs).reshape(-1, K).sum(axis=1)
        assert (kept < 0.9).any()
        assert (there.entropies <= own.entropies + 1e-4).all()


def test_what_is_kept_of_a_reply_reads_the_same(model: Bigrams) -> None:
    protocol, ids = asking(model), list(range(3, 40))
    (request,) = protocol.requests(ids)
    whole = model.reply(dict(request.body))
    kept = protocol.kept(request, whole)
    assert len(json.dumps(kept)) < len(json.dumps(whole)) / 2
    one, other = protocol.read([whole]), protocol.read([kept])
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
    assert kept["model"] == "served-1"
    assert kept["usage"] == whole["usage"]
    for odd in ({}, {"choices": []}, {"choices": [{"prompt_logprobs": [None, {"3": "x"}]}]}):
        assert protocol.kept(request, odd) == odd


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (None, "this server does not know it"),
        ("text", "a list"),
        ([None, {}], "the token that stands there"),
        ([None, {"3": {"logprob": float("nan")}}], "a log-probability"),
        ([None, {"3": {"logprob": True}}], "a log-probability"),
        ([None, {"3": {"logprob": 0.5}}], "a log-probability"),
        ([None, {"a": {"logprob": -1.0}}], "the id of one"),
        ([None, {"3": {"logprob": -1.0}}], "5 of the vocabulary"),
        ([None, {str(n): {"logprob": -0.1} for n in range(5)}], "1 at most"),
        ([None, {str(n): {"logprob": -3.0} for n in range(9_000, 9_005)}], "5 of the vocabulary"),
    ],
)
def test_replies_that_hold_no_distribution(places: Any, expected: str, model: Bigrams) -> None:
    with pytest.raises(BadAnswer, match=expected) as caught:
        asking(model).read([{"choices": [{"prompt_logprobs": places}]}])
    assert caught.value.reason == "wrong_shape"


def test_padding_of_the_vocabulary_and_impossible_tokens(model: Bigrams) -> None:
    size = len(model.tokenizer)
    told = {"4": -9999.0, "1": -1.0, str(size): -0.7, "2": float("-inf"), "7": -2.0}
    found = asking(model, k=4).read([{"choices": [{"prompt_logprobs": [None, told]}]}])
    assert found.tokens.tolist() == [4]
    assert found.ids.tolist() == [[1, 7, 2, 4]]
    assert np.isfinite(found.logprobs).all()


def test_a_server_with_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_teacher(tmp_path / "other", corpus=2)
    there = Bigrams(load_tokenizer(str(other)))
    with serving(FaultyServer(reply=there.reply)) as server:
        teacher = teacher_of(server.base_url, folder, tmp_path)
        with pytest.raises(ModelError, match="cuts texts into other tokens than tokenizer_of"):
            list(teacher.answers(documents(there.tokenizer, 3)))
        assert server.calls <= 3, "nothing else is paid"


def test_a_server_that_tells_too_few_or_of_the_wrong_token(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    model, late = Bigrams(tokenizer), Bigrams(tokenizer, late=True)
    few = FaultyServer(
        reply=model.reply, fault=lambda _, body: 400 if body["prompt_logprobs"] > 3 else None
    )
    with serving(few) as server:
        teacher = teacher_of(server.base_url, folder, tmp_path / "few")
        with pytest.raises(ModelError, match="--max-logprobs 5, or lower"):
            list(teacher.answers(documents(tokenizer, 3)))
    with serving(FaultyServer(reply=late.reply)) as server:
        teacher = teacher_of(server.base_url, folder, tmp_path / "late")
        with pytest.raises(ModelError, match="would be of other tokens"):
            list(teacher.answers(documents(tokenizer, 3)))


def test_bad_answers_are_left_out_and_counted(folder: Path, model: Bigrams, tmp_path: Path) -> None:
    texts = documents(model.tokenizer, 12)
    spoiled = texts[4].token_ids.tolist()

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if body["prompt"] == spoiled:  # of another text
            return model.reply({**body, "prompt": spoiled[::-1]})
        return model.reply(body)

    with serving(FaultyServer(reply=reply)) as server:
        teacher = teacher_of(server.base_url, folder, tmp_path)
        store = label_served_documents(teacher, texts, out=tmp_path / "targets", k=K)
        held = store.holds([document.example_id for document in texts])
        assert held.tolist() == [place != 4 for place in range(12)]
        assert teacher.account["unanswered"] == {"wrong_shape": 1}
        assert "texts.jsonl row 5" in teacher.account["unanswered_shown"][0]["text"]
        strict = teacher_of(server.base_url, folder, tmp_path, bad_answers="stop")
        with pytest.raises(ModelError, match=r"texts\.jsonl row 5: the teacher's answer is wrong"):
            list(strict.answers(texts))


def test_a_budget_ends_it_and_the_rest_is_named(
    folder: Path, model: Bigrams, tmp_path: Path
) -> None:
    texts = documents(model.tokenizer, 20)
    with serving(FaultyServer(reply=model.reply)) as server:
        stops = teacher_of(server.base_url, folder, tmp_path, budget=Budget(requests=12))
        with pytest.raises(BudgetSpent):
            list(stops.answers(texts))
        trains = Budget(requests=15, then="train")
        teacher = teacher_of(server.base_url, folder, tmp_path, budget=trains)
        store = label_served_documents(teacher, texts, out=tmp_path / "targets", k=K)
        assert server.calls == 15  # five of them tried the server
        assert len(store) == 10
        assert teacher.account["unanswered"] == {"over budget": 10}


def test_kills_lose_nothing_and_pay_nothing_twice(
    folder: Path, model: Bigrams, tmp_path: Path
) -> None:
    texts = documents(model.tokenizer, 60)
    ids = [document.example_id for document in texts]
    with serving(FaultyServer(reply=model.reply)) as server:
        teacher = teacher_of(server.base_url, folder, tmp_path / "whole")
        whole = label_served_documents(teacher, texts, out=tmp_path / "whole/targets", k=K)
    told = {
        "vocabulary": len(model.tokenizer),
        "cuts": {text: asking(model).cut(text) for text in PROBES},
        "documents": [document.token_ids.tolist() for document in texts],
    }
    (tmp_path / "told.json").write_text(json.dumps(told), "utf-8")
    # In no rhythm: one request must not be hit by all of them.
    faults = dict(zip(range(4), (500, "cut", "garbage", 429), strict=True))
    server = FaultyServer(
        reply=model.reply,
        fault=lambda n, _: faults.get(random.Random(n).randrange(12)),
        delay=0.02,
    )
    with serving(server):
        # Where the teacher of the recipe keeps its replies.
        teacher = teacher_of(server.base_url, folder, tmp_path / "killed", bad_answer_retries=9)
        journal = teacher._asker._journal_folder
        command = [sys.executable, "-m", "tests.teachers.api.token_server"]
        command += [server.base_url, str(tmp_path / "told.json"), str(journal)]
        for kept in (15, 35):
            process = subprocess.Popen(command)
            ends = time.monotonic() + 60
            while time.monotonic() < ends and journal_lines(journal) < kept:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert 35 <= len(names(journal)) < 65
        there = label_served_documents(teacher, texts, out=tmp_path / "killed/targets", k=K)
    assert len(names(journal)) == len(set(names(journal))) == 65  # five tried the server
    for one, other in zip(whole.lookup(ids), there.lookup(ids), strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.logprobs, other.logprobs)


def journal_lines(journal: Path) -> int:
    path = journal / FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def names(journal: Path) -> list[str]:
    """The requests whose replies are kept whole."""
    path = journal / FILE
    found = path.read_bytes().split(b"\n") if path.exists() else []
    return [json.loads(line[9:])["request"] for line in found if line.endswith(b"}")]
