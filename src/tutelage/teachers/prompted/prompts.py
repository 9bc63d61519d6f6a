"""Prompts that ask a language model for a label, and how each label is spelled after them.

In: labels, an instruction, shots. Out: a `Prompt` that renders a text into what the model reads,
and the spellings of each label as they follow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tutelage.data.documents.chat import render
from tutelage.data.documents.control_tokens import ControlTokens, Span
from tutelage.errors import DataError, ModelError
from tutelage.types import Example, same_name

DEFAULT_TEMPLATE = "Text: {text}\nLabel:"
_SLOT = "\u241ftext\u241f"  # the text while a chat template is rendered; no real text holds it
_BETWEEN_SHOTS = "\n\n"


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt with one slot: `before` + text + `after`, answered by a label's
    spelling.
    """

    before: str
    """Everything up to the text: instruction, shots, and how the question begins."""
    after: str
    """From the text to where the answer starts."""
    spellings: tuple[tuple[str, ...], ...]
    """Per label its spellings exactly as they follow the prompt, leading space included."""
    ending: str
    """What follows a label: a blank line in a plain prompt, the end of the assistant's turn in a
    chat."""
    chat: bool
    """True if made by the tokenizer's chat template."""
    literal: tuple[Span, ...] = ()
    """Where `before` spells control tokens that are text, since shots do."""

    def render(self, text: str) -> str:
        """The whole prompt for one text."""
        return f"{self.before}{text}{self.after}"


def default_instruction(words: Sequence[str]) -> str:
    """The instruction of a task that nobody described: choose one of these words."""
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return f"Classify each text. Answer with one of these labels: {listed}."


def spell_labels(
    labels: Sequence[str], verbalizers: Mapping[str, str | Sequence[str]] | None = None
) -> tuple[tuple[str, ...], ...]:
    """The words that mean each label, without any leading space.

    Args:
        labels: Class names.
        verbalizers: Label -> word or words; a label left out means itself.

    Returns:
        Per label at least one word.

    Raises:
        ModelError: A verbalizer for an unknown label, an empty word, or one word for two labels.
    """
    verbalizers = {same_name(label): words for label, words in (verbalizers or {}).items()}
    unknown = sorted(set(verbalizers) - set(map(same_name, labels)))
    if unknown:
        raise ModelError(
            f"verbalizers name {unknown[0]!r}, which is not one of the labels {list(labels)}; "
            "correct or remove it"
        )
    words: list[tuple[str, ...]] = []
    owner: dict[str, str] = {}
    for label in labels:
        given = verbalizers.get(same_name(label), label)
        chosen = (given,) if isinstance(given, str) else tuple(given)
        if not chosen or any(not word.strip() for word in chosen):
            raise ModelError(
                f"verbalizers for {label!r}: {list(chosen)} given; expected one or more words that "
                "are not empty"
            )
        for word in chosen:
            if owner.setdefault(word.strip(), label) != label or chosen.count(word) > 1:
                raise ModelError(
                    f"the word {word!r} is given twice (for {owner[word.strip()]!r} and "
                    f"{label!r}); each word must "
                    "mean one label"
                )
        words.append(tuple(word.strip() for word in chosen))
    return tuple(words)


def build_prompt(
    tokenizer: Any,
    labels: Sequence[str],
    *,
    instruction: str | None = None,
    template: str | None = None,
    verbalizers: Mapping[str, str | Sequence[str]] | None = None,
    chat: str | bool = "auto",
    shots: Sequence[Example] = (),
) -> Prompt:
    """A zero- or few-shot classification prompt.

    A plain prompt is instruction, shots and question separated by blank lines, and labels follow it
    after a space. A chat prompt puts the same pieces into turns: the instruction opens the first
    user turn, each shot is a user turn answered by the assistant, and labels are the first tokens
    of the assistant's last turn.

    Args:
        tokenizer: Of the model that will read the prompt.
        labels: Class names; `Example.label` indexes them.
        instruction: What is asked; None makes one from the labels, the empty string leaves it out.
        template: How one text is asked about, with `{text}` where it goes; None is
            `DEFAULT_TEMPLATE`.
        verbalizers: Words that stand for labels; a shot shows the first word of its label.
        chat: True, False, or `auto` for a chat exactly if the tokenizer has a chat template.
        shots: Labelled examples shown before the question.

    Returns:
        The prompt.

    Raises:
        ModelError: A template without `{text}`, a chat without a chat template, a shot without a
            label.
    """
    template = DEFAULT_TEMPLATE if template is None else template
    if template.count("{text}") != 1:
        raise ModelError(
            f"template {template!r} given; expected exactly one {{text}} in it, where the text goes"
        )
    words = spell_labels(labels, verbalizers)
    instruction = (
        default_instruction([first for first, *_ in words]) if instruction is None else instruction
    )
    control = ControlTokens(tokenizer)
    shown = [shot.text for shot in shots]
    if control.are_in(shown) and control.can_cover([shown, instruction, template]):
        shown = control.covered(shown)
    asked = [
        (template.replace("{text}", text), words[_shot_label(shot)][0])
        for text, shot in zip(shown, shots, strict=True)
    ]
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if chat is True and not has_template:
        raise ModelError(
            f"chat: true given, but the tokenizer of {tokenizer.name_or_path} has no chat "
            "template; use chat: false"
        )
    if chat is True or (chat == "auto" and has_template):
        prompt = _chat_prompt(
            tokenizer, instruction, asked, template.replace("{text}", _SLOT), words
        )
    else:
        prompt = _plain_prompt(instruction, asked, template.replace("{text}", _SLOT), words)
    before, literal = control.uncovered(prompt.before)
    return replace(prompt, before=before, literal=literal)


def draw_shots(
    examples: Sequence[Example], count: int, *, num_classes: int, seed: int
) -> list[Example]:
    """Choose shots, as many of each class as of any other, in a shuffled order.

    The same examples give the same shots in whatever order they come. When the count does not
    divide by the number of classes, a seeded choice of classes gets one more.

    Args:
        examples: Rows to choose from; those without a label are passed over.
        count: How many shots.
        num_classes: C.
        seed: Any integer; 0 is a seed like any other.

    Returns:
        `count` examples with distinct texts.

    Raises:
        ModelError: Some class has too few rows.
    """
    rng = np.random.default_rng(seed)
    pools: list[list[Example]] = [[] for _ in range(num_classes)]
    for example in sorted(
        {e.example_id: e for e in examples if e.label is not None}.values(),
        key=lambda e: e.example_id,
    ):
        pools[_shot_label(example)].append(example)
    wanted = np.full(num_classes, count // num_classes)
    wanted[rng.permutation(num_classes)[: count % num_classes]] += 1
    short = [index for index, pool in enumerate(pools) if len(pool) < wanted[index]]
    if short:
        raise ModelError(
            f"{count} shots wanted, {wanted[short[0]]} of class {short[0]}, but only "
            f"{len(pools[short[0]])} labelled "
            "rows have that class; lower teacher.shots or label more rows"
        )
    chosen = [
        pool[i]
        for pool, n in zip(pools, wanted, strict=True)
        for i in rng.choice(len(pool), size=n, replace=False)
    ]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _shot_label(shot: Example) -> int:
    if shot.label is None:
        raise ModelError(
            f"the shot {shot.text[:40]!r} (row {shot.row}) has no label; shots must be labelled"
        )
    return shot.label


def _plain_prompt(
    instruction: str,
    asked: Sequence[tuple[str, str]],
    question: str,
    words: tuple[tuple[str, ...], ...],
) -> Prompt:
    question = question.rstrip(" ")  # tokenizers write a space into the word that follows it
    lead = "" if question.endswith("\n") else " "
    parts = [instruction] if instruction else []
    parts += [f"{query.rstrip(' ')}{lead}{answer}" for query, answer in asked]
    before, after = _BETWEEN_SHOTS.join([*parts, question]).split(_SLOT)
    spellings = tuple(tuple(lead + word for word in chosen) for chosen in words)
    return Prompt(before, after, spellings, _BETWEEN_SHOTS, chat=False)


def _chat_prompt(
    tokenizer: Any,
    instruction: str,
    asked: Sequence[tuple[str, str]],
    question: str,
    words: tuple[tuple[str, ...], ...],
) -> Prompt:
    turns: list[dict[str, str]] = []
    for query, answer in asked:
        turns += [{"role": "user", "content": query}, {"role": "assistant", "content": answer}]
    turns.append({"role": "user", "content": question})
    if instruction:
        turns[0]["content"] = f"{instruction}{_BETWEEN_SHOTS}{turns[0]['content']}"
    answer = {"role": "assistant", "content": words[0][0]}
    try:
        rendered = render(tokenizer, turns, {}, prompt=True)
        answered = render(tokenizer, [*turns, answer], {}, prompt=False)
    except DataError as error:
        raise ModelError(f"{tokenizer.name_or_path}: {error}; use chat: false") from error
    if rendered.count(_SLOT) != 1 or not answered.startswith(rendered + words[0][0]):
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} changes the conversation when an "
            "answer is added, so "
            "labels cannot be scored after it; use chat: false"
        )
    before, after = rendered.split(_SLOT)
    return Prompt(before, after, words, answered[len(rendered + words[0][0]) :], chat=True)
