"""What a server with vLLM's `prompt_logprobs` answers, of a made-up language model; and a program
that asks it, for tests that kill it: `python -m tests.teachers.api.token_server URL FILE JOURNAL`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from tests.journeys.tiny_job import sentences

from tutelage.teachers.api.protocols.tokens import TokenCompletions
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.token_teacher import ApiTokenTeacher
from tutelage.teachers.api.work import Policy
from tutelage.types import Document

K = 5


class Bigrams:
    """A language model in which the next token depends on the last one alone; replies about it."""

    def __init__(self, tokenizer: Any, *, late: bool = False) -> None:
        self.tokenizer, self.late = tokenizer, late
        self.rows = len(tokenizer) + 7  # as the tiny teacher's matrix has them

    @cache  # noqa: B019
    def logprobs(self, last: int) -> np.ndarray:
        """Natural logarithms of the next token's probabilities, [V]."""
        seed = int.from_bytes(blake2b(str(last).encode(), digest_size=4).digest())
        logits = 2.0 * np.random.default_rng(seed).standard_normal(self.rows)
        logits[len(self.tokenizer) :] = -30.0
        return logits - np.log(np.exp(logits).sum())

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["prompt"]
        if isinstance(prompt, str):
            prompt = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        drawn = int(self.logprobs(prompt[-1]).argmax())
        choice: dict[str, Any] = {"text": self.tokenizer.decode([drawn]), "prompt_logprobs": None}
        if body.get("logprobs"):
            told = float(self.logprobs(prompt[-1])[drawn])
            choice["logprobs"] = {"tokens": [choice["text"]], "token_logprobs": [told]}
        if (k := body.get("prompt_logprobs")) is not None:
            given = [prompt[place - (0 if self.late else 1)] for place in range(1, len(prompt))]
            choice["prompt_logprobs"] = [None] + [
                self._place(token, self.logprobs(last), k)
                for token, last in zip(prompt[1:], given, strict=True)
            ]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 1}
        return {"model": "served-1", "choices": [choice], "usage": usage}

    def _place(self, token: int, logprobs: np.ndarray, k: int) -> dict[str, Any]:
        best = np.argsort(-logprobs, kind="stable")[:k].tolist()
        return {
            str(one): {"logprob": float(logprobs[one]), "rank": 1, "decoded_token": "x"}
            for one in dict.fromkeys([token, *best])
        }


def documents(tokenizer: Any, count: int) -> list[Document]:
    found = []
    for row, (text, _) in enumerate(sentences(count, seed=3), start=1):
        ids = np.array(tokenizer(f"{text} {row}", add_special_tokens=False)["input_ids"], np.int32)
        found.append(Document(ids, np.arange(len(ids)) > row % 4, "texts.jsonl", row))
    return found


def teacher_of(
    base_url: str, tokenizer_of: str | Path, journals: Path, *, k: int = K, **options: Any
) -> ApiTokenTeacher:
    from tutelage.teachers.api.text_spec import ApiWriterSpec
    from tutelage.teachers.spec import TokenAssignment

    spec = ApiWriterSpec(
        protocol="completions",
        model="served-1",
        base_url=base_url,
        tokenizer_of=str(tokenizer_of),
        **{"concurrency": 4, "retries": 8, **options},
    )
    return spec.token_teacher(TokenAssignment(128), k=k, journals=journals)


def main(arguments: Sequence[str]) -> None:
    """Ask about documents of a file, without a tokenizer or torch, which take seconds to load."""
    url, told, out = arguments
    known = json.loads(Path(told).read_text("utf-8"))
    teacher = ApiTokenTeacher(
        TokenCompletions("served-1", K, vocabulary=known["vocabulary"], cut=known["cuts"].get),
        fingerprint="served",
        tokenizer_fingerprint="tokenizer",
        endpoint=Endpoint(
            base_url=url, key_variable=None, concurrency=4, timeout_seconds=20, retries=8
        ),
        policy=Policy(bad_answer_retries=9),
        journal=Path(out),
    )
    ids = [np.array(one, np.int32) for one in known["documents"]]
    for _ in teacher.answers([Document(one, np.ones(len(one), bool)) for one in ids]):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
