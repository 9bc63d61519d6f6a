"""The protocol that a name, a question and options make. Nothing here knows of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage.errors import ModelError
from tutelage.teachers.api.protocol import AskingProtocol, Question
from tutelage.teachers.api.protocols import chat
from tutelage.teachers.api.protocols.chat import Chat
from tutelage.teachers.api.protocols.checking import problems
from tutelage.teachers.api.protocols.classify import Classify
from tutelage.teachers.api.protocols.completions import TEMPLATE, Completions
from tutelage.teachers.api.protocols.decisions import Decisions
from tutelage.teachers.api.protocols.groups import (
    Grouped,
    LabelGroups,
    found_groups,
    given_groups,
)
from tutelage.teachers.api.protocols.options import (
    AskingOptions,
    by_letters,
    most_groups,
    most_options,
)
from tutelage.teachers.api.protocols.systemone import SystemOne
from tutelage.teachers.prompted.prompts import spell_labels
from tutelage.types import same_name

__all__ = ["AskingOptions", "problems", "protocol_named"]


def protocol_named(
    name: str,
    question: Question,
    *,
    model: str,
    options: AskingOptions,
    shots: Sequence[tuple[str, str]] = (),
) -> AskingProtocol:
    """The protocol of this name, asking this question.

    Args:
        name: One of `PROTOCOLS`.
        question: Labels and what they mean.
        model: The name by which the server knows it.
        options: How it is asked.
        shots: Texts with their labels, `options.shots` of them, drawn by the caller.

    Returns:
        The protocol; equal arguments make one that asks equal requests.

    Raises:
        ModelError: It cannot ask this; `problems` says all reasons.
    """
    found = [one for one in problems(name, question, options) if one.severity == "error"]
    if found:
        raise ModelError("; ".join(map(str, found)))
    groups = _groups(name, question, options)
    extra = options.extra_body
    match name:
        case "decisions" | "systemone":
            made = Decisions if name == "decisions" else SystemOne
            yes = options.yes if options.ask_as == "predicate" else None
            return made(question, model, yes=yes, groups=groups, extra=extra)
        case "classify":
            return Classify(question, model, label_names=options.label_names, extra=extra)
        case "completions":
            return Completions(
                question,
                model,
                words=spell_labels(question.labels, options.verbalizers),
                scores=options.scores,
                template=options.template or TEMPLATE,
                shots=tuple(shots),
                extra=extra,
            )
        case _:
            if groups is None:
                return _chat(question, model, options, shots)
            return Grouped(groups, _grouped_chats(groups, model, options, shots))


def _groups(name: str, question: Question, options: AskingOptions) -> LabelGroups | None:
    if options.groups is None:
        return None
    if isinstance(options.groups, Mapping):
        return given_groups(question, options.groups)
    most = most_options(name, question, options)
    if most is None or len(question.labels) <= most:
        return None
    return found_groups(question, most, most_groups(name, question, options))


def _chat(
    question: Question, model: str, options: AskingOptions, shots: Sequence[tuple[str, str]]
) -> Chat:
    """A chat about labels, with the verbalizers of those that have some."""
    known = set(map(same_name, question.labels))
    words = {
        label: words
        for label, words in (options.verbalizers or {}).items()
        if same_name(label) in known
    }
    ids = {same_name(label): number for label, number in (options.logprob_token_ids or {}).items()}
    return Chat(
        question,
        model,
        words=spell_labels(question.labels, words),
        letters=by_letters(question, options),
        match_case=options.match_case,
        top_logprobs=options.top_logprobs,
        logprob_token_ids={label: ids[same_name(label)] for label in question.labels}
        if ids
        else None,
        votes=options.votes,
        sampling_temperature=options.sampling_temperature,
        smoothing=options.smoothing,
        max_answer_tokens=options.max_answer_tokens,
        template=options.template or chat.TEMPLATE,
        shots=tuple(shots),
        extra=options.extra_body,
    )


def _grouped_chats(
    groups: LabelGroups, model: str, options: AskingOptions, shots: Sequence[tuple[str, str]]
) -> tuple[Chat, ...]:
    """One chat about the groups and one within each, with the shots that belong there."""
    labels = groups.question.labels
    name_of = {
        labels[place]: name
        for name, places in zip(groups.names, groups.members, strict=True)
        for place in places
    }
    first, *within = groups.questions
    chats = [_chat(first, model, options, [(text, name_of[label]) for text, label in shots])]
    for one in within:
        chosen = [(text, label) for text, label in shots if label in one.labels]
        chats.append(_chat(one, model, options, chosen))
    return tuple(chats)
