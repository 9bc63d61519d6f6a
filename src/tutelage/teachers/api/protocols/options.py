"""The options with which a served model is asked, declared once, and what follows from them.

In: what a recipe says. Out: how many labels a question takes, and whether letters name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le, MinLen

from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols import decisions, systemone
from tutelage.teachers.api.protocols.wording import LETTERS, plainly_different
from tutelage.teachers.prompted.prompts import spell_labels

ProtocolName = Literal["decisions", "systemone", "chat", "completions", "classify"]
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)


@dataclass(frozen=True, kw_only=True)
class AskingOptions:
    """How a served model is asked for class probabilities."""

    ask_as: Literal["choice", "predicate"] = "choice"
    """Of decisions and systemone: a choice among the labels; predicate: a yes/no question about
    `yes`, one of two labels."""

    yes: str | None = None
    """The label that a yes means, for `ask_as: predicate`."""

    groups: Literal["auto"] | Mapping[str, tuple[str, ...]] | None = None
    """For more labels than a question takes: labels by group, asked as group and label within it;
    auto: groups found from labels and descriptions; None: such labels are refused."""

    most_options: Annotated[int, Ge(2)] | None = None
    """How many options the server takes in one question; None: 255 for decisions, 26 for
    systemone and for letters in chat."""

    answer_with: Literal["auto", "letters", "labels"] = "auto"
    """Of chat: options are named A, B, C and answered so, or by their words; auto: words where the
    first character tells all labels apart, else letters."""

    verbalizers: Mapping[str, tuple[str, ...]] | None = None
    """Of chat and completions: for each label the word, or the words, that mean it; None: the
    label itself."""

    match_case: bool = False
    """Of chat: tell upper from lower case in answers."""

    top_logprobs: Annotated[int, Ge(1)] = 20
    """Of chat: how many tokens the server lists for each place of an answer; most take 20."""

    logprob_token_ids: Mapping[str, Annotated[int, Ge(0)]] | None = None
    """Of chat with vLLM: for each label the id of the token that begins its answer, whose
    probability is then exact."""

    votes: Annotated[int, Ge(0)] = 0
    """Of chat: answers that are drawn and counted where there are no log-probabilities; 0: none."""

    sampling_temperature: Annotated[float, Gt(0), Le(2)] = 1.0
    """At which votes are drawn."""

    smoothing: Annotated[float, Ge(0)] = 0.5
    """Votes that every label has from the start."""

    max_answer_tokens: Annotated[int, Ge(1)] = 16
    """Of chat: the most tokens of an answer."""

    scores: Literal["echo", "prompt_logprobs"] = "echo"
    """Of completions: how the server tells log-probabilities of what it is given; prompt_logprobs
    is vLLM's."""

    template: Annotated[str, MinLen(1)] | None = None
    """Of chat and completions: how one text is asked about, containing {text}; None: a plain
    default."""

    shots: Annotated[int, Ge(0)] = 0
    """Of chat and completions: labelled examples of train shown in the prompt."""

    label_names: tuple[str, ...] | None = None
    """Of classify: all classes of the served model in its order, in the words of the labels; None:
    they are the labels in their order."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """What every request carries besides, in the server's own words; null takes a key out."""


READ_BY: dict[str, frozenset[str]] = {
    "decisions": frozenset({"ask_as", "yes", "groups", "most_options"}),
    "systemone": frozenset({"ask_as", "yes", "groups", "most_options"}),
    "chat": frozenset(
        {
            *("groups", "most_options", "answer_with", "verbalizers", "match_case"),
            *("top_logprobs", "logprob_token_ids", "votes", "sampling_temperature", "smoothing"),
            *("max_answer_tokens", "template", "shots"),
        }
    ),
    "completions": frozenset({"verbalizers", "scores", "template", "shots"}),
    "classify": frozenset({"label_names"}),
}
"""Options that a protocol reads, besides `extra_body`, which all do."""


def most_options(name: str, question: Question, options: AskingOptions) -> int | None:
    """How many options one question takes; None: any number."""
    match name:
        case "decisions":
            return options.most_options or decisions.MOST_OPTIONS
        case "systemone":
            return options.most_options or systemone.MOST_OPTIONS
        case "chat":
            may_be_letters = options.groups is not None and options.answer_with == "auto"
            if may_be_letters or by_letters(question, options):
                return min(options.most_options or len(LETTERS), len(LETTERS))
            return options.most_options
        case _:
            return None


def most_groups(name: str, question: Question, options: AskingOptions) -> int | None:
    """How many groups of labels can be asked about; None: any number. They are options of one
    question, and each may be a question of the same request.
    """
    most = most_options(name, question, options)
    if most is None or name == "chat":
        return most
    questions = systemone.MOST_QUESTIONS if name == "systemone" else decisions.MOST_QUESTIONS
    return min(most, questions - 1)


def by_letters(question: Question, options: AskingOptions) -> bool:
    """Whether a chat is answered by letters: where that was said, or the first characters of words
    do not tell the labels apart.
    """
    if options.answer_with != "auto":
        return options.answer_with == "letters"
    return not plainly_different(spell_labels(question.labels, options.verbalizers))
