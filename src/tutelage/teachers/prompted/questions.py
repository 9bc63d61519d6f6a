"""A prompt in a model's own tokens: what a text becomes, how each label follows it, and how much
room a text has.

In: a tokenizer, a configuration, labels and shots. Out: a `Question`, or the reason why this model
cannot be asked it. Weights are not needed, so a recipe is checked by what the teacher will do,
before any of it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from tutelage.data.documents.control_tokens import ControlTokens, LiteralEncoder, Span
from tutelage.errors import ModelError
from tutelage.models.computing import require_embeddings
from tutelage.models.facts import context_tokens, continues_text
from tutelage.teachers.prompted.prompts import Prompt, build_prompt
from tutelage.types import Example


@dataclass(frozen=True)
class LabelTrie:
    """The token sequences of all label spellings, sharing their beginnings.

    Node 0 is the end of the prompt. Every other node is a label prefix that some longer label
    continues; the model must be run on it. Each edge (node, token) has a log-probability; a
    spelling's log-probability is the sum along its path.
    """

    parents: tuple[int, ...]
    """Parent of each node; the root's is -1."""
    tokens: tuple[int, ...]
    """Token that leads to each node; the root's is -1."""
    edges: tuple[tuple[int, int], ...]
    """(node, token) pairs in first-seen order."""
    paths: tuple[tuple[int, ...], ...]
    """Per spelling the indices of its edges."""
    classes: tuple[int, ...]
    """Per spelling the label it means."""
    terminated: bool
    """True if every spelling carries its end, because one would otherwise be the beginning of
    another."""
    depths: tuple[int, ...] = field(default=())
    """Tokens from the root to each node."""

    @property
    def chains(self) -> list[list[int]]:
        """Node sequences from below the root to each node that has no child: what must be run to
        visit every node.
        """
        inner = set(self.parents)
        return [self.ancestors(node) for node in range(1, len(self.parents)) if node not in inner]

    def ancestors(self, node: int) -> list[int]:
        """The nodes from below the root to `node`, itself included."""
        path: list[int] = []
        while node > 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1]


def begins_another(sequences: Sequence[Sequence[Sequence[int]]]) -> bool:
    """Whether the token ids of one spelling are the beginning of another's; see `build_trie`."""
    flat = {tuple(ids) for spellings in sequences for ids in spellings}
    return any(ids[:length] in flat for ids in flat for length in range(1, len(ids)))


def build_trie(
    sequences: Sequence[Sequence[Sequence[int]]], *, endings: Sequence[Sequence[int]] | None = None
) -> LabelTrie:
    """Arrange the token sequences of labels in a trie.

    Where one spelling's tokens begin another's ("pos" and "positive"), the events "starts with pos"
    and "starts with positive" overlap and their probabilities would not be comparable. Then *every*
    spelling gets the token that ends an answer, and its probability is that of exactly this answer.

    Args:
        sequences: Per label its spellings, each a non-empty sequence of token ids.
        endings: Per label, per spelling, the id of the token that ends the answer; needed only in
            that case.

    Returns:
        The trie.

    Raises:
        ModelError: Two spellings have the same tokens, or one begins another and no endings are
            given.
    """
    flat = [(index, tuple(ids)) for index, spellings in enumerate(sequences) for ids in spellings]
    if any(not ids for _, ids in flat):
        raise ModelError("a label is spelled by no token at all; give it a verbalizer")
    distinct = {ids for _, ids in flat}
    if len(distinct) < len(flat):
        twice = next(ids for _, ids in flat if sum(ids == other for _, other in flat) > 1)
        owners = [index for index, ids in flat if ids == twice]
        raise ModelError(
            f"labels {owners} are spelled by the same tokens {list(twice)}; give them verbalizers "
            "that differ"
        )
    terminated = begins_another(sequences)
    if terminated:
        if endings is None:
            raise ModelError(
                "one label's tokens begin another's, and no token ends an answer; give verbalizers "
                "that differ early"
            )
        ends = [end for spellings in endings for end in spellings]
        flat = [(index, (*ids, end)) for (index, ids), end in zip(flat, ends, strict=True)]
    nodes: dict[tuple[int, ...], int] = {(): 0}
    edges: dict[tuple[int, int], int] = {}
    paths = []
    for _, ids in flat:
        path = []
        for depth, token in enumerate(ids):
            node = nodes.setdefault(ids[:depth], len(nodes))
            path.append(edges.setdefault((node, token), len(edges)))
        paths.append(tuple(path))
    prefixes = list(nodes)
    return LabelTrie(
        parents=tuple(nodes[prefix[:-1]] if prefix else -1 for prefix in prefixes),
        tokens=tuple(prefix[-1] if prefix else -1 for prefix in prefixes),
        edges=tuple(edges),
        paths=tuple(paths),
        classes=tuple(index for index, _ in flat),
        terminated=terminated,
        depths=tuple(len(prefix) for prefix in prefixes),
    )


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
    vocabulary: int | None = None
    """Tokens that the model has embeddings for; None: nobody knows."""

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a rendered prompt."""
        if self.prompt.literal and prompt.startswith(self.prompt.before):
            ids, _ = self._encoder.encode(prompt, self.prompt.literal)
            return [*self.beginning, *ids]
        return _encode(self.tokenizer, self.beginning, prompt)

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Whole prompts as token ids, long texts cut."""
        if not texts:
            return []
        read = [self.cut(text) for text in texts]
        prompts = [self.prompt.render(text) for text in read]
        encoded = self.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        for row, text in enumerate(read):
            if literal := self._literal(text):
                encoded[row] = self._encoder.encode(prompts[row], literal)[0]
        require_embeddings(
            encoded,
            self.vocabulary,
            tokenizer=self.tokenizer,
            name=str(self.tokenizer.name_or_path),
        )
        return [[*self.beginning, *ids] for ids in encoded]

    def _literal(self, text: str) -> list[Span]:
        """Where a whole prompt spells control tokens that are text: in its shots and in a text."""
        if not self.tokenizer.is_fast:
            return []
        start = len(self.prompt.before)
        spelled = self._control.spelled(text)
        return [*self.prompt.literal, *((start + one, start + end) for one, end in spelled)]

    @cached_property
    def _control(self) -> ControlTokens:
        return ControlTokens(self.tokenizer)

    @cached_property
    def _encoder(self) -> LiteralEncoder:
        return LiteralEncoder(self.tokenizer, self._control)

    def cut(self, text: str) -> str:
        """The text's first tokens, as many as there is room for."""
        if len(text.encode("utf-8")) <= self.text_tokens:  # a token is at least one byte
            return text
        if self.tokenizer.is_fast:
            ends = self.tokenizer(
                text,
                add_special_tokens=False,
                return_offsets_mapping=True,
                split_special_tokens=True,
            )["offset_mapping"]
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
    empty = _encode(tokenizer, beginning, prompt.render(""))
    room = _room_for_text(config, len(empty), trie, max_length)
    vocabulary = config.get_text_config().vocab_size
    highest = max((*empty, *trie.tokens), default=0)
    if highest >= vocabulary:
        raise ModelError(
            f"the prompt or a label holds {tokenizer.decode([highest])!r}, token {highest:,} of "
            f"the tokenizer, but the model has embeddings for {vocabulary:,} only: resize the "
            "model's embeddings and save it again, or write the prompt without it"
        )
    return Question(tokenizer, prompt, beginning, trie, room, vocabulary)


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
