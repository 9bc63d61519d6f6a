"""Control tokens that somebody's text spells, such as <|im_end|>, and how they stay text.

A tokenizer turns the spelling of a control token into the token wherever it meets it, and a chat
template writes such spellings itself. So the texts of messages go through the template with theirs
covered by characters of the same number; in what comes out, every spelling left is the template's.
To tokenize it in one piece, as always, a copy of the tokenizer knows the template's tokens under
other names and takes the real ones for text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tutelage.errors import DataError

Span = tuple[int, int]
"""Start and end in characters."""

_COVER, _RENAMED = 0x100000, 0xF0000
"""Where in Unicode's private planes the covers of spellings begin, and other names of tokens."""
_PRIVATE = re.compile("[\U000f0000-\U0010ffff]")


class ControlTokens:
    """The control tokens of one tokenizer. State: their spellings."""

    def __init__(self, tokenizer: Any) -> None:
        """Ask a tokenizer of transformers for its special tokens."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        found = {str(token): token for token in added.values() if token.special}
        found |= {token: found.get(token) for token in tokenizer.all_special_tokens}
        self._tokens = {spelling: token for spelling, token in found.items() if spelling}
        # The longest first, as tokenizers match them.
        self._spellings = sorted(self._tokens, key=lambda spelling: (-len(spelling), spelling))
        self._numbers = {spelling: number for number, spelling in enumerate(self._spellings)}
        self._pattern = re.compile("|".join(map(re.escape, self._spellings)) or r"(?!)")
        self._ids = {spelling: tokenizer.convert_tokens_to_ids(spelling) for spelling in found}

    def spelled(self, text: str) -> tuple[Span, ...]:
        """Where a text spells a control token."""
        return tuple(match.span() for match in self._pattern.finditer(text))

    def ids(self, tokenizer: Any) -> list[int]:
        """The ids of control tokens that no text is turned into for want of a better."""
        return [one for one in self._ids.values() if one != tokenizer.unk_token_id]

    def can_cover(self, value: Any) -> bool:
        """Whether no text inside a value has characters that covers are made of."""
        return not any(_PRIVATE.search(text) for text in texts_in(value))

    def are_in(self, value: Any) -> bool:
        """Whether any text inside lists and objects spells a control token."""
        return any(self._pattern.search(text) for text in texts_in(value))

    def covered(self, value: Any, *, but: Sequence[str] = ("role", "type")) -> Any:
        """A value whose texts have every spelling covered, except under the keys of `but`."""
        match value:
            case str():
                return self._replaced(value, _COVER)
            case Mapping():
                return {
                    key: inner if key in but else self.covered(inner)
                    for key, inner in value.items()
                }
            case list() | tuple():
                return [self.covered(inner) for inner in value]
            case _:
                return value

    def uncovered(self, text: str) -> tuple[str, tuple[Span, ...]]:
        """A text with what was covered, and where that is."""
        spans, pieces, end = [], [], 0
        for match in re.finditer("[\U00100000-\U0010ffff]", text):
            start = match.start()
            number = ord(match[0]) - _COVER
            if start < end or number >= len(self._spellings):
                continue
            spelling = self._spellings[number]
            if not text.startswith(match[0] * len(spelling), start):
                continue  # a template cut it
            pieces += [text[end:start], spelling]
            end = start + len(spelling)
            spans.append((start, end))
        return "".join([*pieces, text[end:]]), tuple(spans)

    def renamed(self, text: str, literal: Sequence[Span]) -> str:
        """A text whose control tokens have their other names, but for those that are literal."""
        pieces, end = [], 0
        for start, stop in literal:
            pieces += [self._replaced(text[end:start], _RENAMED), text[start:stop]]
            end = stop
        return "".join([*pieces, self._replaced(text[end:], _RENAMED)])

    def other_names(self) -> Iterator[tuple[Any, int]]:
        """For each token its other name, to be added to a tokenizer, and its own id."""
        from tokenizers import AddedToken

        for spelling, token in self._tokens.items():
            flags = ("single_word", "lstrip", "rstrip")
            given = {flag: bool(getattr(token, flag, False)) for flag in flags}
            name = self._replaced(spelling, _RENAMED)
            yield AddedToken(name, special=False, normalized=False, **given), self._ids[spelling]

    def _replaced(self, text: str, base: int) -> str:
        def other(match: re.Match[str]) -> str:
            return chr(base + self._numbers[match[0]]) * len(match[0])

        return self._pattern.sub(other, text)


class LiteralEncoder:
    """Encodes texts some of whose control tokens are text. State: a copy of the tokenizer."""

    def __init__(self, tokenizer: Any, tokens: ControlTokens) -> None:
        """Copy a fast tokenizer.

        Raises:
            DataError: It cannot be copied.
        """
        from tokenizers import Tokenizer

        self._tokens = tokens
        try:
            self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        except Exception as error:  # which is all that tokenizers raises
            raise DataError(
                f"the tokenizer cannot be copied ({error}), so control tokens that texts spell "
                "cannot be kept as text; take them out of the texts"
            ) from error
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._own = {}
        for name, own in tokens.other_names():
            self._backend.add_tokens([name])
            self._own[self._backend.token_to_id(name.content)] = own

    def encode(self, text: str, literal: Sequence[Span]) -> tuple[list[int], list[Span]]:
        """The ids of a text and the characters that each stands for.

        Args:
            text: The text.
            literal: Where it spells control tokens that are text, in order.
        """
        renamed = self._tokens.renamed(text, literal)
        encoding = self._backend.encode(renamed, add_special_tokens=False)
        return [self._own.get(one, one) for one in encoding.ids], encoding.offsets


def texts_in(value: Any) -> Iterator[str]:
    """Every text inside lists and objects, keys aside."""
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from texts_in(inner)
        case list() | tuple():
            for inner in value:
                yield from texts_in(inner)
