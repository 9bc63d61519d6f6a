"""Distributions of a served language model over its tokens: `POST /v1/completions` with the ids of
a text as its prompt, and vLLM's `prompt_logprobs`.

In: the ids of a document. Out: for each token after the first the likeliest tokens that could have
stood there. The server reads ids, so nothing is tokenized twice; whether its ids mean what they
mean here is tried on it first, with a text that tokenizers cut in different ways.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.teachers.api.protocol import BadAnswer, Question, Request
from tutelage.teachers.api.protocols.completions import Completions
from tutelage.teachers.api.protocols.replies import (
    LOG_ZERO,
    first_choice,
    is_number,
    mapping,
    said,
    sequence,
    wrong,
)
from tutelage.teachers.api.protocols.wording import with_extra

PROBES = (
    "The price rose by 12,345.67 % in 2024, didn't it?  Two  spaces,\ta tab,\r\nand\n\n   lines. ",
    "Žluťoučký kůň; STRAẞE, naïve ﬁnancé e\u0301; Ελλάδα, Привет, \u4f60\u597d\uff0c"
    "\u4e16\u754c\u3002\u3053\u3093 \uc548\ub155 \U0001f917\U0001f469\u200d\U0001f467 "
    "\U0001d538\u00a0\u200b",
    "def f(x_1): return {'a': [x**2 for x in range(10)]}  # https://example.org/?q=1&r=%20\n\t\t}",
)
"""Numbers, spaces, odd Unicode, code: where tokenizers differ. None begins a control token, which
servers read and texts do not hold."""
_MOST_ABOVE = 1e-3
"""How far above 1 probabilities may sum before they are none."""


@dataclass(frozen=True, eq=False)
class Listed:
    """The likeliest tokens at the places of a text of T tokens."""

    tokens: NDArray[np.int32]
    """Which token the server says stands at each place but the first, [T - 1]."""
    ids: NDArray[np.int32]
    """The likeliest at each, the likeliest first, [T - 1, K]."""
    logprobs: NDArray[np.float32]
    """Their natural logarithms, at temperature 1, [T - 1, K]."""


@dataclass(frozen=True)
class TokenCompletions:
    """Asks for the likeliest tokens of every place of a text; see `asker.Asking`."""

    model: str
    """The name by which the server knows it."""
    k: int
    """How many tokens of each place."""
    vocabulary: int
    """Ids from here on are padding of the model's output, and are passed over."""
    cut: Callable[[str], list[int]]
    """The tokenizer that made the ids, without tokens at the ends of a text."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What requests carry besides; null takes a key out."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that requests depend on besides the ids."""
        return dict(self.requests(())[0].body)

    def requests(self, ids: Sequence[int] | NDArray[np.int32]) -> list[Request]:
        """One call, whatever the length."""
        return [self._request(list(map(int, ids)), self.k)]

    def _request(self, prompt: str | list[int], k: int, **more: Any) -> Request:
        body = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": 1,  # at least one is drawn, and not looked at
            "temperature": 0,
            "prompt_logprobs": k,
        }
        return Request("completions", with_extra(body | more, self.extra))

    def kept(self, request: Request, reply: Mapping[str, Any]) -> Mapping[str, Any]:
        """The reply about a text with ids and log-probabilities alone, which is a fifth of it; one
        that is not understood stays whole.
        """
        if isinstance(request.body["prompt"], str):  # which is a question of `probe`
            return reply
        try:
            places = first_choice(reply).get("prompt_logprobs")
            short = [
                None
                if place is None
                else {token: round(float(one["logprob"]), 5) for token, one in place.items()}
                for place in sequence(places, "`prompt_logprobs`")
            ]
        except (BadAnswer, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return reply
        told = {key: reply[key] for key in ("model", "usage") if key in reply}
        return {**told, "choices": [{"prompt_logprobs": short}]}

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Listed:
        """The likeliest tokens of every place.

        Raises:
            BadAnswer: The reply holds none, or numbers that are no log-probabilities.
        """
        (body,) = replies
        places = _places(body)
        tokens = np.zeros(len(places), np.int32)
        ids = np.zeros((len(places), self._width), np.int32)
        logprobs = np.zeros((len(places), self._width))
        for place, told in enumerate(places):
            tokens[place] = next(iter(told))  # the token that stands there is told first
            best = sorted(
                ((log, -token) for token, log in told.items() if token < self.vocabulary),
                reverse=True,
            )[: self._width]
            if len(best) < self._width:
                raise wrong(
                    f"the number of tokens told at place {place + 1}",
                    len(best),
                    f"{self._width} of the vocabulary",
                )
            ids[place] = [-negative for _, negative in best]
            logprobs[place] = [log for log, _ in best]
        sums = np.exp(logprobs).sum(axis=1, keepdims=True)
        if (sums > 1 + _MOST_ABOVE).any():
            raise wrong("the sum of probabilities of one place", float(sums.max()), "1 at most")
        # A sum that rounding carries beyond 1 is no distribution.
        logprobs = np.minimum(logprobs - np.log(np.maximum(sums, 1.0)), 0.0)
        return Listed(tokens, ids, logprobs.astype(np.float32))

    @property
    def _width(self) -> int:
        return min(self.k, self.vocabulary)

    async def probe(self, ask: Callable[[Request], Awaitable[Mapping[str, Any]]]) -> None:
        """Whether the server gives as many tokens as are asked for, cuts texts into the same ids as
        the tokenizer here, and tells log-probabilities of the right token.

        Raises:
            ModelError: It does not.
            BadAnswer: Its replies cannot be read.
        """
        for text in PROBES:
            own = self.cut(text)
            try:
                reply = await ask(self._request(text, self.k, add_special_tokens=False))
            except BadAnswer as bad:
                if bad.reason == "rejected":
                    raise ModelError(
                        f"the server rejects a first text ({bad}). Where it tells fewer than "
                        f"{self.k} tokens a place, start it with --max-logprobs {self.k}, or lower "
                        "targets.k"
                    ) from None
                raise
            served = [next(iter(told)) for told in _places(reply)]
            if served != own[1:]:
                raise ModelError(_other_tokens(text, served, own))
            self.read([reply])
        alignment = Completions(
            Question(()), model=self.model, words=(), scores="prompt_logprobs", extra=self.extra
        )
        await alignment.probe(ask)


def _places(body: Mapping[str, Any]) -> list[dict[int, float]]:
    """Ids with their log-probabilities at each place but the first, in the server's order."""
    told = first_choice(mapping(body, "a reply")).get("prompt_logprobs")
    if told is None:
        raise wrong(
            "`prompt_logprobs`", told, "a list, as vLLM gives it; this server does not know it"
        )
    found: list[dict[int, float]] = []
    for place, entry in enumerate(sequence(told, "`prompt_logprobs`")):
        if place == 0:  # which follows nothing
            continue
        one = {
            _id(token): _log(value)
            for token, value in mapping(entry, f"place {place} of `prompt_logprobs`").items()
        }
        if not one:
            raise wrong(f"place {place} of `prompt_logprobs`", entry, "the token that stands there")
        found.append(one)
    return found


def _id(token: str) -> int:
    if not token.isdecimal():
        raise wrong("a token of `prompt_logprobs`", token, "the id of one")
    return int(token)


def _log(value: Any) -> float:
    """A log-probability, by itself or in an object; a token that is impossible has a low one."""
    if isinstance(value, Mapping):
        value = value.get("logprob")
    if not is_number(value) or math.isnan(value) or value > _MOST_ABOVE:
        raise wrong("`logprob`", value, "a log-probability, 0 at most")
    return max(float(value), LOG_ZERO)


def _other_tokens(text: str, served: Sequence[int], own: Sequence[int]) -> str:
    """That two tokenizers are two, with the first place where it shows."""
    place = next(
        (at for at, (a, b) in enumerate(zip(served, own[1:], strict=False)) if a != b),
        min(len(served), len(own) - 1),
    )
    there = served[place] if place < len(served) else "nothing"
    here = own[place + 1] if place + 1 < len(own) else "nothing"
    return (
        f"the served model cuts texts into other tokens than tokenizer_of: token {place + 2} of "
        f"{said(text)} is {there} there ({len(served) + 1} in all) and {here} here ({len(own)}). "
        "Its numbers would be about other words: name the served model's own tokenizer in "
        "tokenizer_of"
    )
