"""Texts as n-grams: which of a vocabulary a text holds.

In: texts. Out: ids, as a tokenizer gives them. A word is a run of letters and digits, or one other
visible sign; n-grams of words go across words, those of characters stay inside one, whose two ends
count as characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+|[^\w\s]")
SHORTEST = 3
"""Characters of the shortest n-gram of characters."""
UNKNOWN = 0
"""The id of a word that is not in the vocabulary."""


class NGrams:
    """A vocabulary of n-grams, and how texts are read with it.

    Args:
        words: N-grams of words, joined by a space; their ids start at 1.
        characters: N-grams of characters; their ids follow.
        longest_words: Words of the longest n-gram of words; 0: none.
        longest_characters: Characters of the longest n-gram of characters; 0: none.
        max_length: The most words of one text; what follows is not read.
        lowercase: Whether capital letters are set aside.
        scale: How telling each n-gram is, by id, where weights are to be fitted: its inverse
            document frequency `ln((1 + N) / (1 + n)) + 1` in N texts of which n hold it; that of
            unknown words is 0.

    Example:
        >>> ngrams = NGrams(["fun", "great fun"], [], longest_words=2, longest_characters=0)
        >>> ngrams.ids("Great fun!")
        [0, 1, 0, 2]
    """

    def __init__(
        self,
        words: Sequence[str],
        characters: Sequence[str],
        *,
        longest_words: int,
        longest_characters: int,
        max_length: int = 128,
        lowercase: bool = True,
        scale: NDArray[np.float64] | None = None,
    ) -> None:
        self.scale = scale
        self.words, self.characters = list(words), list(characters)
        self.longest_words, self.longest_characters = longest_words, longest_characters
        self.max_length, self.lowercase = max_length, lowercase
        self._word_ids = {gram: place for place, gram in enumerate(self.words, start=1)}
        first = 1 + len(self.words)
        self._character_ids = {gram: place for place, gram in enumerate(self.characters, first)}

    def __len__(self) -> int:
        """Ids, that of unknown words among them."""
        return 1 + len(self.words) + len(self.characters)

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        """`input_ids` of texts, as tokenizers of transformers are called."""
        return {"input_ids": [self.ids(text) for text in texts]}

    def gram(self, place: int) -> str:
        """The n-gram of an id; one of characters shows the ends of its word as spaces."""
        inside = place - 1 - len(self.words)
        return self.words[place - 1] if inside < 0 else self.characters[inside]

    @property
    def is_word(self) -> NDArray[np.bool_]:
        """Which ids stand for one word, the unknown one among them; a text has as many such as it
        has words.
        """
        single = [True, *(" " not in gram for gram in self.words)]
        return np.array(single + [False] * len(self.characters))

    def ids(self, text: str) -> list[int]:
        """Every n-gram of a text as often as it stands there; of those that are not in the
        vocabulary only single words, as `UNKNOWN`.
        """
        words = self.split(text)
        known = self._word_ids
        found = [known.get(word, UNKNOWN) for word in words] + self.ids_across(words)
        return found + [place for word in words for place in self.ids_inside(word)]

    def known(self, words: list[str]) -> list[int]:
        """Every n-gram of a text that is in the vocabulary, as often as it stands there.

        Args:
            words: Of the text, from `split`.
        """
        return self.ids_across(words) + [place for word in words for place in self.ids_of(word)]

    def id_of(self, words: Sequence[str]) -> int | None:
        """The id of an n-gram of words; None where it is not in the vocabulary."""
        return self._word_ids.get(" ".join(words))

    def ids_across(self, words: list[str]) -> list[int]:
        """The known n-grams of two words and more."""
        known: dict[str, int] = self._word_ids
        found: list[int] = []
        for length in range(2, self.longest_words + 1):
            found += [known[gram] for gram in word_grams(words, length) if gram in known]
        return found

    def ids_of(self, word: str) -> list[int]:
        """The known n-grams of one word: itself, and those of its characters."""
        return [*([self._word_ids[word]] if word in self._word_ids else []), *self.ids_inside(word)]

    def ids_inside(self, word: str) -> list[int]:
        """The known n-grams of the characters of a word."""
        known = self._character_ids
        if not known:
            return []
        grams = character_grams(word, self.longest_characters)
        return [known[gram] for gram in grams if gram in known]

    def split(self, text: str) -> list[str]:
        """The words of a text that are read."""
        return WORD.findall(text.lower() if self.lowercase else text)[: self.max_length]

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where the words of `split` stand in a text, in characters."""
        if not self.lowercase:
            return [found.span() for found in WORD.finditer(text)][: self.max_length]
        # Some capitals are written with two characters once they are small.
        came = [place for place, one in enumerate(text) for _ in one.lower()]
        found = [one.span() for one in WORD.finditer(text.lower())][: self.max_length]
        return [(came[begin], came[end - 1] + 1) for begin, end in found]

    def grams_of_words(self, words: list[str]) -> list[str]:
        """All n-grams of words, known or not."""
        lengths = range(1, self.longest_words + 1)
        return [gram for length in lengths for gram in word_grams(words, length)]

    def grams_of_characters(self, words: list[str]) -> list[str]:
        """All n-grams of characters, known or not."""
        return [gram for word in words for gram in character_grams(word, self.longest_characters)]

    def select(self, kept: NDArray[np.bool_]) -> NGrams:
        """The vocabulary with some of its n-grams; `kept` [len] says which, the first counts for
        nothing.
        """
        first = 1 + len(self.words)
        return NGrams(
            [gram for gram, keeps in zip(self.words, kept[1:first], strict=True) if keeps],
            [gram for gram, keeps in zip(self.characters, kept[first:], strict=True) if keeps],
            longest_words=self.longest_words,
            longest_characters=self.longest_characters,
            max_length=self.max_length,
            lowercase=self.lowercase,
        )


def word_grams(words: Sequence[str], length: int) -> Iterator[str]:
    """The n-grams of words of one length."""
    return map(" ".join, zip(*(words[first:] for first in range(length)), strict=False))


def character_grams(word: str, longest: int) -> Iterator[str]:
    """The n-grams of characters of a word and its two ends, from `SHORTEST` to `longest`."""
    whole = f" {word} "
    for length in range(SHORTEST, longest + 1):
        for first in range(len(whole) - length + 1):
            yield whole[first : first + length]
