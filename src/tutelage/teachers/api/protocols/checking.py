"""What keeps a protocol from asking about given labels, before anything is asked.

In: a protocol's name, a question, options. Out: problems, each of which says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from tutelage.errors import ModelError, Problem
from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols import chat
from tutelage.teachers.api.protocols.groups import group_problems
from tutelage.teachers.api.protocols.options import (
    PROTOCOLS,
    READ_BY,
    AskingOptions,
    most_groups,
    most_options,
)
from tutelage.teachers.api.protocols.wording import LETTERS, bare
from tutelage.teachers.prompted.prompts import spell_labels
from tutelage.types import same_name


def problems(name: str, question: Question, options: AskingOptions) -> list[Problem]:
    """Everything that keeps a protocol from asking these labels; `where` is the option, empty where
    there is none. Warnings are of the severity `warning`.

    Args:
        name: One of `PROTOCOLS`.
        question: Labels and what they mean.
        options: How it is asked.
    """
    if name not in PROTOCOLS:
        return [Problem("protocol", f"{name!r} given; expected one of {', '.join(PROTOCOLS)}")]
    found = _unread(name, options)
    if len(question.labels) < 2:
        found.append(Problem("", f"{len(question.labels)} label given; expected two or more"))
        return found
    if options.template is not None and options.template.count("{text}") != 1:
        message = f"{options.template!r} given; expected exactly one {{text}}, where the text goes"
        found.append(Problem("template", message))
    match name:
        case "decisions" | "systemone":
            found += _predicate_problems(question, options)
        case "classify":
            found += _class_problems(question, options)
        case "completions":
            found += _word_problems(question, options)
        case _:
            found += _word_problems(question, options) or _chat_problems(question, options)
    if not any(problem.where == "verbalizers" for problem in found):
        found += _size_problems(name, question, options)
    return found


def _unread(name: str, options: AskingOptions) -> list[Problem]:
    """Options that were given and that this protocol does not know."""
    plain = AskingOptions()
    given = {
        one.name
        for one in fields(AskingOptions)
        if getattr(options, one.name) != getattr(plain, one.name)
    }
    who = {key: [other for other in PROTOCOLS if key in READ_BY[other]] for key in given}
    return [
        Problem(key, f"an option of {' and '.join(who[key])}, not of {name}; remove it")
        for key in sorted(given - READ_BY[name] - {"extra_body"})
    ]


def _predicate_problems(question: Question, options: AskingOptions) -> list[Problem]:
    if options.ask_as == "choice":
        if options.yes is None:
            return []
        return [Problem("yes", "given without `ask_as: predicate`; add that or remove it")]
    if len(question.labels) != 2:
        message = (
            f"predicate is for two labels, and there are {len(question.labels)}; use "
            "`ask_as: choice`"
        )
        return [Problem("ask_as", message)]
    if options.yes is None or same_name(options.yes) not in map(same_name, question.labels):
        given = "nothing" if options.yes is None else repr(options.yes)
        message = f"{given} given; expected the label that a yes means: " + " or ".join(
            question.labels
        )
        return [Problem("yes", message)]
    return []


def _class_problems(question: Question, options: AskingOptions) -> list[Problem]:
    if options.label_names is None:
        return []
    named = list(map(same_name, options.label_names))
    found = []
    if len(set(named)) < len(named):
        found.append(Problem("label_names", "a name stands there twice; each class has its own"))
    if absent := [label for label in question.labels if same_name(label) not in named]:
        message = f"no class is called {', '.join(absent)}; name the classes as the labels"
        found.append(Problem("label_names", message))
    return found


def _word_problems(question: Question, options: AskingOptions) -> list[Problem]:
    try:
        spell_labels(question.labels, options.verbalizers)
    except ModelError as error:
        return [Problem("verbalizers", str(error))]
    return []


def _chat_problems(question: Question, options: AskingOptions) -> list[Problem]:
    found = []
    words = spell_labels(question.labels, options.verbalizers)
    owner: dict[str, int] = {}
    for place, chosen in enumerate(words):
        for word in chosen:
            plain = bare(word, case=options.match_case)
            if owner.setdefault(plain, place) != place:
                message = (
                    f"{word!r} of {question.labels[place]} and a word of "
                    f"{question.labels[owner[plain]]} are the same without signs and case; give "
                    "them other words, or set `match_case: true`"
                )
                found.append(Problem("verbalizers", message))
    if (ids := options.logprob_token_ids) is not None:
        if sorted(map(same_name, ids)) != sorted(map(same_name, question.labels)):
            message = f"given for {', '.join(ids)}; expected one id for each label"
            found.append(Problem("logprob_token_ids", message))
        elif len(set(ids.values())) < len(ids):
            message = "two labels have the same id; take answers whose first tokens differ"
            found.append(Problem("logprob_token_ids", message))
        elif len(ids) > chat.MOST_TOKEN_IDS:
            message = f"{len(ids)} ids given; vLLM takes {chat.MOST_TOKEN_IDS} at most"
            found.append(Problem("logprob_token_ids", message))
        if options.votes:
            found.append(Problem("votes", "votes read no log-probabilities; leave one of them out"))
        if options.groups is not None:
            message = "ids are of the labels, not of groups; leave one of them out"
            found.append(Problem("groups", message))
    return found


def _size_problems(name: str, question: Question, options: AskingOptions) -> list[Problem]:
    """More labels than a question takes, and groups that do not help."""
    most, num_labels = most_options(name, question, options), len(question.labels)
    groups = most_groups(name, question, options)
    if isinstance(options.groups, Mapping):
        found = [Problem("groups", text) for text in group_problems(question, options.groups)]
        sizes = {group: len(inside) for group, inside in options.groups.items()}
        if most is not None:
            found += [
                Problem("groups", f"{group!r} has {size} labels, more than {most}; divide it")
                for group, size in sizes.items()
                if size > most
            ]
        if groups is not None and len(sizes) > groups:
            found.append(Problem("groups", f"{len(sizes)} groups given; expected at most {groups}"))
        if len(sizes) < 2:
            found.append(Problem("groups", "one group leaves nothing to choose; give two or more"))
        return found
    if most is None or num_labels <= most:
        listed = name == "chat" and not options.votes and options.logprob_token_ids is None
        if listed and num_labels > options.top_logprobs:
            message = (
                f"{num_labels} labels, but {options.top_logprobs} tokens are listed at each place: "
                "the others are estimated from the least of them (set `groups: auto` and "
                f"`most_options: {options.top_logprobs}` to have all listed)"
            )
            return [Problem("top_logprobs", message, severity="warning")]
        return []
    if options.groups == "auto":
        if groups is None or num_labels <= most * groups:
            return []
        message = (
            f"{num_labels} labels do not fit into {groups} groups of {most}; take fewer labels"
        )
        return [Problem("groups", message)]
    what = "letters" if name == "chat" else "options in a question"
    others = " `answer_with: labels`," if name == "chat" else ""
    message = (
        f"{num_labels} labels, but {name} has {most} {what}; set `groups: auto` (which group, then "
        f"which label of it), give `groups` by name,{others} or raise `most_options` if your "
        "server takes more"
    )
    if name == "chat" and most == len(LETTERS):
        message = message.partition(", or raise")[0]
    return [Problem("groups", message)]
