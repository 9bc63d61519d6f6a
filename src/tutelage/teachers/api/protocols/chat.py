"""Chat models, `POST /v1/chat/completions`: class probabilities from the log-probabilities of an
answer, or, where an endpoint tells none, from votes.

In: a text. Out: one request whose answer names a label, read from the 20 likeliest tokens at each
of its places (see `listed`); with `logprob_token_ids` (vLLM) the exact value of one token for each
label; with `votes` as many requests, told apart by `seed`, whose answers are counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tutelage.teachers.api.protocol import Answer, BadAnswer, Question, Request
from tutelage.teachers.api.protocols.listed import read_listed, read_places
from tutelage.teachers.api.protocols.replies import (
    LOG_ZERO,
    first_choice,
    mapping,
    said,
    string,
    wrong,
)
from tutelage.teachers.api.protocols.wording import (
    LETTERS,
    options_listed,
    require_label,
    told_settings,
    with_extra,
)

TEMPLATE = "Text: {text}"
MOST_TOKEN_IDS = 128
"""That vLLM tells by name."""


@dataclass(frozen=True)
class Chat:
    """Asks a chat model for a label."""

    question: Question
    model: str
    words: tuple[tuple[str, ...], ...]
    """For each label the words that mean it; the first is shown."""
    letters: bool = True
    """The answer is the letter of an option; False: one of the words."""
    match_case: bool = False
    """Tell upper from lower case in words; letters are always capitals in log-probabilities."""
    top_logprobs: int = 20
    """How many tokens are listed for each place."""
    logprob_token_ids: Mapping[str, int] | None = None
    """For each label the token whose log-probability is asked for by its id."""
    votes: int = 0
    """Answers that are drawn and counted; 0: log-probabilities are read."""
    sampling_temperature: float = 1.0
    """At which votes are drawn."""
    smoothing: float = 0.5
    """a in (n + a) / (m + aC): votes that every label has from the start."""
    max_answer_tokens: int = 16
    template: str = TEMPLATE
    """How one text is asked about, with {text} where it goes."""
    shots: tuple[tuple[str, str], ...] = ()
    """Texts with their labels, shown as turns before."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What requests carry besides; null takes a key out."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its requests about a placeholder, and how answers are matched."""
        return {
            **told_settings(self, "chat", self.question),
            "words": [list(chosen) for chosen in self.words],
            "letters": self.letters,
            "match_case": self.match_case,
            "smoothing": self.smoothing,
            "logprob_token_ids": dict(self.logprob_token_ids or {}),
        }

    def requests(self, text: str) -> list[Request]:
        """One, or one for each vote."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(text),
            "max_tokens": self.max_answer_tokens,
        }
        if self.votes:
            body["temperature"] = self.sampling_temperature
            bodies = [{**body, "seed": seed} for seed in range(self.votes)]
        else:
            bodies = [{**body, "temperature": 0, "logprobs": True, **self._listing}]
        return [Request("chat/completions", with_extra(one, self.extra)) for one in bodies]

    def read(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        """The probabilities in an answer's tokens, or the votes counted."""
        if self.votes:
            return self._counted(replies)
        (body,) = replies
        if self.logprob_token_ids:
            ids = [self.logprob_token_ids[label] for label in self.question.labels]
            return _read_ids(first_choice(mapping(body, "the reply")), ids)
        answers = [(letter,) for letter in LETTERS[: len(self.words)]]
        choice = first_choice(mapping(body, "the reply"))
        return _read_logprobs(
            choice,
            answers if self.letters else self.words,
            case=self.letters or self.match_case,
        )

    @property
    def _listing(self) -> dict[str, Any]:
        if not self.logprob_token_ids:
            return {"top_logprobs": self.top_logprobs}
        return {
            "logprob_token_ids": [self.logprob_token_ids[label] for label in self.question.labels],
            "return_tokens_as_token_ids": True,
            "max_tokens": 1,
        }

    def _messages(self, text: str) -> list[dict[str, str]]:
        shown = [chosen[0] for chosen in self.words]
        answers = LETTERS if self.letters else shown
        turns = []
        for example, label in self.shots:
            answer = answers[self.question.labels.index(label)]
            turns.append({"role": "user", "content": self.template.replace("{text}", example)})
            turns.append({"role": "assistant", "content": answer})
        turns.append({"role": "user", "content": self.template.replace("{text}", text)})
        lead = options_listed(self.question, shown, letters=self.letters)
        turns[0]["content"] = f"{lead}\n\n{turns[0]['content']}"
        return turns

    def _counted(self, replies: Sequence[Mapping[str, Any]]) -> Answer:
        words = [
            (LETTERS[place], *chosen) if self.letters else chosen
            for place, chosen in enumerate(self.words)
        ]
        votes, bad = [], []
        for body in replies:
            try:
                votes.append(_read_text(mapping(body, "the reply"), words, case=self.match_case))
            except BadAnswer as error:
                bad.append(error)
        if not votes:
            reason, _ = Counter(error.reason for error in bad).most_common(1)[0]
            raise next(error for error in bad if error.reason == reason)
        return counted(votes, len(words), smoothing=self.smoothing, asked=len(replies))


def counted(votes: Sequence[int], num_labels: int, *, smoothing: float, asked: int) -> Answer:
    """Votes as probabilities: (n + a) / (m + aC) for n of m votes, a the smoothing.

    Args:
        votes: Places of labels.
        num_labels: C.
        smoothing: Votes that every label has from the start.
        asked: Answers that were drawn, those included that named no label; `label_mass` is the
            share that did.
    """
    counts = np.bincount(np.asarray(votes, np.int64), minlength=num_labels) + smoothing
    return Answer(probs=counts / counts.sum(), label_mass=len(votes) / asked, votes=len(votes))


def read_reply(
    body: Mapping[str, Any],
    labels: Sequence[str],
    *,
    words: Sequence[Sequence[str]] | None = None,
    case: bool = False,
    smoothing: float = 0.5,
) -> Answer:
    """The answer in a reply to a request that is not known: from its log-probabilities if it has
    any, else its text as one vote.

    Args:
        body: The JSON of a chat completion; `n` choices without log-probabilities are `n` votes.
        labels: Class names in the order of the soft targets.
        words: For each label the words that mean it; None: itself. Letters are words too.
        case: Tell upper from lower case.
        smoothing: Of votes.

    Returns:
        The answer.

    Raises:
        BadAnswer: It names no label.
    """
    spelled = [(label,) for label in labels] if words is None else words
    choice = first_choice(mapping(body, "the reply"))
    if _content(choice) is not None:
        return _read_logprobs(choice, spelled, case=case)
    choices = body["choices"]
    votes, bad = [], []
    for one in choices:
        try:
            votes.append(_read_text({"choices": [one]}, spelled, case=case))
        except BadAnswer as error:
            bad.append(error)
    if not votes:
        raise bad[0]
    return counted(votes, len(labels), smoothing=smoothing, asked=len(choices))


def _answered(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message of a choice that does not decline."""
    message = mapping(choice.get("message"), "`message`")
    why = choice.get("finish_reason")
    if message.get("refusal") or why == "content_filter":
        raise BadAnswer("refused", f"the model declined: {said(message.get('refusal') or why)}")
    return message


def text_of(choice: Mapping[str, Any]) -> tuple[str, bool]:
    """What a choice says, and whether it was cut off.

    Raises:
        BadAnswer: It declines, or says nothing.
    """
    message, why = _answered(choice), choice.get("finish_reason")
    told = message.get("content")
    text = "" if told is None else string(told, "`content`")
    if not text:
        reason = "truncated" if why == "length" else "empty"
        raise BadAnswer(reason, f"the answer has no text; it ended by {said(why)}")
    return text, why == "length"


def _read_text(body: Mapping[str, Any], words: Sequence[Sequence[str]], *, case: bool) -> int:
    """The label that a reply's text names."""
    text, cut_off = text_of(first_choice(body))
    return require_label(text, words, case=case, cut_off=cut_off)


def _content(choice: Mapping[str, Any]) -> Any:
    """The places of an answer, as the server told them; None: it told none."""
    logprobs = choice.get("logprobs")
    return (logprobs.get("content") or None) if isinstance(logprobs, Mapping) else None


def _require_content(choice: Mapping[str, Any]) -> Any:
    content = _content(choice)
    if content is None:
        raise wrong(
            "`logprobs.content`",
            content,
            "a list of places; this server tells no log-probabilities: take `votes`",
        )
    return content


def _read_logprobs(
    choice: Mapping[str, Any], words: Sequence[Sequence[str]], *, case: bool
) -> Answer:
    text, cut_off = text_of(choice)
    places = read_places(_require_content(choice))
    try:
        return read_listed(places, words, case=case)
    except BadAnswer as error:
        if error.reason == "unparsable" and cut_off:
            raise BadAnswer("truncated", f"cut off after {said(text)}: {error}") from error
        raise


def _read_ids(choice: Mapping[str, Any], ids: Sequence[int]) -> Answer:
    """The exact probabilities of named tokens at the first place of an answer."""
    _answered(choice)
    content = _require_content(choice)
    told = _logprobs_by_token(content[0]) if read_places(content) else {}
    absent = [number for number in ids if f"token_id:{number}" not in told]
    if absent:
        raise wrong(
            "the list of tokens",
            list(told)[:5],
            f"token_id:{absent[0]} in it; this server does not know `logprob_token_ids`",
        )
    logs = np.array([told[f"token_id:{number}"] for number in ids])
    if logs.max() <= LOG_ZERO:
        raise BadAnswer("unparsable", "every label is impossible to the model")
    probs = np.exp(logs - logs.max())
    mass = math.fsum(np.exp(logs))
    return Answer(probs=probs / probs.sum(), label_mass=min(mass, 1.0))


def _logprobs_by_token(place: Mapping[str, Any]) -> dict[str, float]:
    """Log-probabilities by token at a place that `read_places` found to be whole."""
    entries = [place, *(place.get("top_logprobs") or ())]
    return {one["token"]: float(max(one["logprob"], LOG_ZERO)) for one in reversed(entries)}
