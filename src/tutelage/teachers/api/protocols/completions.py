"""Completions, `POST /v1/completions`: the words of labels scored where they follow a prompt.

In: a text. Out: one request for each word of a label, which is the prompt with that word at its
end; the server tells the log-probabilities of what it was given (`echo` with `logprobs`, or vLLM's
`prompt_logprobs`), and those of the word's tokens are added up. Exact for labels of any number of
tokens. The prompt begins with what is the same for all texts, and is the same for all labels of a
text, so that a server with a prefix cache reads it once.

Where one word begins another ("pos", "positive"), every word is scored with the line's end after
it, since the chance of "pos" holds that of "positive" otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from tutelage.errors import ModelError
from tutelage.teachers.api.protocol import Answer, BadAnswer, Question, Request, usage_of
from tutelage.teachers.api.protocols.replies import (
    LOG_ZERO,
    first_choice,
    listed_probability,
    mapping,
    said,
    sequence,
    string,
    wrong,
)
from tutelage.teachers.api.protocols.wording import options_listed, told_settings, with_extra

TEMPLATE = "Text: {text}\nLabel:"
_PROBE = "The capital of France is"
_PROBE_TOLERANCE = 0.5
"""Nats by which one token's log-probability may differ between two requests: number formats and
batches differ a little."""
_LEAST = -1e4
"""A token's log-probability where a server says that it is impossible."""


@dataclass(frozen=True)
class Completions:
    """Scores the words of labels after a prompt."""

    question: Question
    model: str
    words: tuple[tuple[str, ...], ...]
    """For each label the words that mean it; their probabilities are added."""
    scores: Literal["echo", "prompt_logprobs"] = "echo"
    """How the server tells log-probabilities of what it was given."""
    template: str = TEMPLATE
    """How one text is asked about, with {text} where it goes; the word follows after a space."""
    shots: tuple[tuple[str, str], ...] = ()
    """Texts with their labels, shown before."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What requests carry besides; null takes a key out."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its requests about a placeholder."""
        return {
            **told_settings(self, "completions", self.question),
            "words": [list(chosen) for chosen in self.words],
        }

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """All words as they follow the prompt, those of the first label first."""
        lead = "" if self.template.endswith("\n") else " "
        flat = [lead + word for chosen in self.words for word in chosen]
        begins = any(a != b and b.startswith(a) for a in flat for b in flat)
        return tuple(word + ("\n" if begins else "") for word in flat)

    def requests(self, text: str) -> list[Request]:
        """One for each word, and first, for `prompt_logprobs`, one of the prompt alone."""
        prompt = self.prompt(text)
        prompts = [prompt + word for word in self.spelled]
        if self.scores == "prompt_logprobs":
            prompts.insert(0, prompt)
            asked: dict[str, Any] = {"prompt_logprobs": 0}
        else:
            asked = {"echo": True, "logprobs": 1}
        return [
            Request(
                "completions",
                with_extra(
                    # 0 tokens mean no end to llama-cpp-python, so one is drawn and not looked at
                    {
                        "model": self.model,
                        "prompt": one,
                        "max_tokens": 1,
                        "temperature": 0,
                        **asked,
                    },
                    self.extra,
                ),
            )
            for one in prompts
        ]

    async def probe(self, ask: Callable[[Request], Awaitable[Mapping[str, Any]]]) -> None:
        """Whether the log-probability of the token that the server would write is the same when it
        is given that token; some servers tell those of the token after.

        Raises:
            ModelError: It is not.
            BadAnswer: The replies cannot be read.
        """
        plain = {"model": self.model, "max_tokens": 1, "temperature": 0}
        body = with_extra({**plain, "prompt": _PROBE, "logprobs": 1}, self.extra)
        told = mapping(
            first_choice(mapping(await ask(Request("completions", body)), "a reply")).get(
                "logprobs"
            ),
            "`logprobs`",
        )
        token = string(sequence(told.get("tokens"), "`tokens`")[0], "a token")
        own = _log(sequence(told.get("token_logprobs"), "`token_logprobs`")[0], "its own")
        extra = (
            {"prompt_logprobs": 0}
            if self.scores == "prompt_logprobs"
            else {"echo": True, "logprobs": 1}
        )
        body = with_extra({**plain, "prompt": _PROBE + token, **extra}, self.extra)
        reply = mapping(await ask(Request("completions", body)), "a reply")
        if self.scores == "prompt_logprobs":
            given = _prompt_tokens(first_choice(reply))[-1][1] or 0.0
        else:
            given = _echoed(reply, token)
        if abs(given - own) > _PROBE_TOLERANCE:
            raise ModelError(
                f"this server gives {token!r} after {_PROBE!r} the log-probability {own:.2f} where "
                f"it writes it, and {given:.2f} where it is given ({self.scores}), so scores of "
                "labels would be of other tokens. Take protocol: chat, or another server"
            )

    def prompt(self, text: str) -> str:
        """Everything before the word: what is the same for all texts first."""
        shown = [chosen[0] for chosen in self.words]
        lead = "" if self.template.endswith("\n") else " "
        parts = [options_listed(self.question, shown, letters=False)]
        for example, label in self.shots:
            word = shown[self.question.labels.index(label)]
            parts.append(self.template.replace("{text}", example) + lead + word)
        return "\n\n".join([*parts, self.template.replace("{text}", text)])

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The probabilities of the words, added for each label."""
        bodies = [mapping(body, "a reply") for body in replies]
        if self.scores == "prompt_logprobs":
            alone, *others = (_prompt_tokens(first_choice(body)) for body in bodies)
            totals = [_after(alone, tokens) for tokens in others]
        else:
            totals = [_echoed(body, word) for body, word in zip(bodies, self.spelled, strict=True)]
        logs = np.array(totals)
        if logs.max() <= LOG_ZERO:
            raise BadAnswer("unparsable", "every label is impossible to the model")
        chances = np.exp(logs - logs.max())
        of_word = [place for place, chosen in enumerate(self.words) for _ in chosen]
        probs = np.bincount(of_word, weights=chances, minlength=len(self.words))
        return Answer(probs=probs / probs.sum(), label_mass=float(min(np.exp(logs).sum(), 1.0)))


def _log(value: Any, what: str) -> float:
    """A log-probability, cut off where it says that a token is impossible."""
    told = listed_probability(value, what)
    return _LEAST if told is None or value <= LOG_ZERO else min(float(value), 0.0)


def _echoed(body: Mapping[str, Any], word: str) -> float:
    """The log-probability of the word at the end of an echoed prompt.

    The word is found in the tokens as text, behind which stands the one token that was drawn, if
    any: servers count `text_offset` with or without the token that begins a text.
    """
    choice = first_choice(body)
    if not isinstance(choice.get("logprobs"), Mapping):
        raise wrong(
            "`logprobs`",
            choice.get("logprobs"),
            "those of the prompt; this server does not echo them: try `scores: prompt_logprobs`",
        )
    told = choice["logprobs"]
    tokens = [string(one, "a token") for one in sequence(told.get("tokens"), "`tokens`")]
    logs = sequence(told.get("token_logprobs"), "`token_logprobs`")
    if len(logs) != len(tokens):
        raise wrong("the number of `token_logprobs`", len(logs), f"{len(tokens)}, as of `tokens`")
    drawn = 0 if usage_of(body).output == 0 and isinstance(body.get("usage"), Mapping) else 1
    ends = [len(tokens) - drawn, len(tokens) - 1 + drawn]
    given = next((tokens[:end] for end in ends if "".join(tokens[:end]).endswith(word)), None)
    if given is None:
        raise wrong("the end of the echoed tokens", "".join(tokens)[-40:], f"the word {word!r}")
    start, remaining = len(given), len(word)
    while remaining > 0:
        start -= 1
        remaining -= len(given[start])
    if remaining < 0:
        raise BadAnswer(
            "wrong_shape",
            f"the token {said(given[start])} holds the end of the prompt and the beginning of the "
            f"word {word!r}; end `template` with a sign, such as a colon",
        )
    scored = logs[start : len(given)]
    return float(sum(_log(value, f"the log-probability of {word!r}") for value in scored))


def _prompt_tokens(choice: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """Tokens that a server was given, by their ids, with their log-probabilities."""
    found: list[tuple[str, float | None]] = []
    for entry in sequence(choice.get("prompt_logprobs"), "`prompt_logprobs`"):
        if entry is None:  # the first token follows nothing
            found.append(("", None))
            continue
        told = mapping(entry, "an entry of `prompt_logprobs`")
        if not told:
            raise wrong("an entry of `prompt_logprobs`", told, "the token that stands there")
        name, value = next(iter(told.items()))  # the token that stands there is the first
        value = mapping(value, "a token of `prompt_logprobs`")
        found.append((name, _log(value.get("logprob"), "`logprob`")))
    return found


def _after(alone: Sequence[tuple[str, Any]], whole: Sequence[tuple[str, Any]]) -> float:
    """The log-probability of the tokens by which one prompt is longer than another."""
    if len(whole) <= len(alone) or [name for name, _ in whole[: len(alone)]] != [
        name for name, _ in alone
    ]:
        raise BadAnswer(
            "wrong_shape",
            "the tokens of the prompt are others with a label behind it; end `template` with a "
            "sign, such as a colon",
        )
    values = [value for _, value in whole[len(alone) :]]
    if any(value is None for value in values):
        raise wrong("a log-probability of the label", None, "a number")
    return float(sum(values))
