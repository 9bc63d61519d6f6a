"""A prompt in a model's own tokens: what a text becomes, how each label follows it, and how much
room a text has.

In: a tokenizer, a configuration, labels and shots. Out: a `Question`, or the reason why this model
cannot be asked it. Weights are not needed, so a recipe is checked by what the teacher will do,
before any of it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tutelage.errors import ModelError
from tutelage.models.facts import context_tokens, continues_text
from tutelage.teachers.prompted.prompts import Prompt, build_prompt
from tutelage.teachers.prompted.trie import LabelTrie, begins_another, build_trie
from tutelage.types import Example

_ANY_TEXT = "good"
_FEWEST_TEXT_TOKENS = 16


@dataclass(frozen=True)
class Question:
    """A prompt as token ids; make one with `build_question`."""

    tokenizer: Any
    prompt: Prompt
    beginning: tuple[int, ...]
    """The begin-of-text token, where the tokenizer puts one; a chat template writes its own."""
    trie: LabelTrie
    """How the labels follow."""
    text_tokens: int
    """Tokens of a text that are read; the rest is cut off."""

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a rendered prompt."""
        return _encode(self.tokenizer, self.beginning, prompt)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Whole prompts as token ids, long texts cut."""
        prompts = [self.prompt.render(self.cut(text)) for text in texts]
        encoded = self.tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
        return [[*self.beginning, *ids] for ids in encoded]

    def cut(self, text: str) -> str:
        """The text's first tokens, as many as there is room for."""
        if len(text.encode("utf-8")) <= self.text_tokens:  # a token is at least one byte
            return text
        if self.tokenizer.is_fast:
            ends = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
                "offset_mapping"
            ]
            return text if len(ends) <= self.text_tokens else text[: ends[self.text_tokens - 1][1]]
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return (
            text if len(ids) <= self.text_tokens else self.tokenizer.decode(ids[: self.text_tokens])
        )


def build_question(
    tokenizer: Any,
    config: Any,
    labels: Sequence[str],
    *,
    instruction: str | None = None,
    template: str | None = None,
    verbalizers: Mapping[str, str | Sequence[str]] | None = None,
    chat: bool | Literal["auto"] = "auto",
    shots: Sequence[Example] = (),
    max_length: int = 512,
) -> Question:
    """The prompt and the spellings of its labels in a model's tokens.

    Args:
        tokenizer: Of the model that is asked.
        config: Its transformers configuration.
        labels: Class names in the order of the soft targets.
        instruction: See `build_prompt`.
        template: See `build_prompt`.
        verbalizers: Words that stand for labels.
        chat: Chat template or plain prompt; `auto` uses the template if there is one.
        shots: Labelled examples to show.
        max_length: Tokens of a text that are read, at most.

    Returns:
        The question.

    Raises:
        ModelError: The model does not continue text, the prompt cannot be built or leaves no room
            for a text, or labels cannot be told apart.
    """
    require_causal(config, name=str(tokenizer.name_or_path))
    prompt = build_prompt(
        tokenizer,
        labels,
        instruction=instruction,
        template=template,
        verbalizers=verbalizers,
        chat=chat,
        shots=shots,
    )
    marks = [] if prompt.chat else tokenizer("")["input_ids"]
    beginning = (int(marks[0]),) if marks and marks[0] == tokenizer.bos_token_id else ()
    trie = _label_trie(tokenizer, beginning, prompt)
    room = _room_for_text(
        config, len(_encode(tokenizer, beginning, prompt.render(""))), trie, max_length
    )
    return Question(tokenizer, prompt, beginning, trie, room)


def require_causal(config: Any, *, name: str) -> None:
    """Refuse a model that does not continue text from left to right, told from its configuration.

    Args:
        config: A transformers configuration.
        name: The model, for the message.

    Raises:
        ModelError: It is an encoder, or an encoder with a decoder.
    """
    if not continues_text(config):
        raise ModelError(
            f"{name} is of the kind {config.model_type}, which does not continue text from left to "
            "right, so it cannot be asked for a label in words. Take a causal language model, or "
            "fit this one: kind: classifier with fit: {method: head}, lora or full"
        )


def _label_trie(tokenizer: Any, beginning: Sequence[int], prompt: Prompt) -> LabelTrie:
    """The spellings of all labels as they follow the prompt, with the token that ends an answer
    where it is needed.
    """
    asked = prompt.render(_ANY_TEXT)
    sequences = [
        [_continuation(tokenizer, beginning, asked, word) for word in words]
        for words in prompt.spellings
    ]
    endings = None
    if begins_another(sequences):
        endings = [
            [_continuation(tokenizer, beginning, asked + word, prompt.ending)[0] for word in words]
            for words in prompt.spellings
        ]
    return build_trie(sequences, endings=endings)


def _continuation(tokenizer: Any, beginning: Sequence[int], prompt: str, more: str) -> list[int]:
    """Token ids of `more` after `prompt`.

    Raises:
        ModelError: The tokenizer fuses the two, so that the continuation has no tokens of its own.
    """
    start, whole = (
        _encode(tokenizer, beginning, prompt),
        _encode(tokenizer, beginning, prompt + more),
    )
    if whole[: len(start)] != start or len(whole) == len(start):
        raise ModelError(
            f"the tokenizer fuses {more!r} with the end of the prompt, {prompt[-12:]!r}; end the "
            "template with "
            "another character, for instance a colon"
        )
    return whole[len(start) :]


def _room_for_text(config: Any, prompt_tokens: int, trie: LabelTrie, max_length: int) -> int:
    """Tokens of a text that fit beside the prompt in the model's context, at most `max_length`."""
    context = context_tokens(config)
    if context is None:
        return max_length
    longest_label = max(len(path) for path in trie.paths)
    room = int(context) - prompt_tokens - longest_label
    if room < _FEWEST_TEXT_TOKENS:
        raise ModelError(
            f"the prompt takes {prompt_tokens:,} tokens, which leaves {max(0, room)} for the text "
            "in a context of "
            f"{context:,}; use fewer shots or a shorter instruction"
        )
    return min(max_length, room)


def _encode(tokenizer: Any, beginning: Sequence[int], prompt: str) -> list[int]:
    return [*beginning, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
