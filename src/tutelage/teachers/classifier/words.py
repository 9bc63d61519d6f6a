"""What a teacher made of every word in the texts it read: means of hidden states, one for each of
the teacher's tokens in each spelling.

In: texts, where the teacher's tokens end in them, and its states. Out: a `Words`. A word is what
stands between white space, with the white space before it: no vocabulary joins what white space
parts, so whatever tokens a student cuts a spelling into, each ends at one of the teacher's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WORD = re.compile(r"\s*\S+")
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """U spellings of P teacher's tokens in all."""

    spellings: Sequence[str]
    """Each with the white space before it; one that the teacher cuts in several ways comes several
    times."""
    starts: NDArray[np.int64]
    """Where the tokens of each spelling begin among the P, [U + 1]."""
    ends: NDArray[np.int64]
    """The character of its spelling behind each token, [P]."""
    counts: NDArray[np.int64]
    """How often each spelling was read, [U]."""
    states: NDArray[np.float16]
    """Mean state of each token, [P, H]."""


@dataclass
class WordSums:
    """Sums over some texts, which are announced first (`announce`) and then read (`add`)."""

    spellings: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    ends: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    places: list[NDArray[np.int64]] = field(default_factory=list)
    """For each text announced the place of each of its tokens among the P, -1 for those of no
    word."""
    sums: dict[int, Tensor] = field(default_factory=dict)
    """Of each layer, float32 [P, H]."""
    _known: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def announce(self, text: str, token_ends: Sequence[int]) -> None:
        """Make room for the words of a text.

        Args:
            text: As the teacher's tokenizer was given it.
            token_ends: The character behind each of its tokens, 0 for special ones. Words behind
                the last of them, or that it cuts, were not read whole and are left out.
        """
        ends = np.asarray(token_ends, dtype=np.int64)
        words = list(_WORD.finditer(text))
        word_of = np.searchsorted([word.end() for word in words], ends)
        places = np.full(len(ends), -1, dtype=np.int64)
        for number, word in enumerate(words):
            tokens = np.flatnonzero((word_of == number) & (ends > 0))
            if not len(tokens) or ends[tokens[-1]] < word.end():
                continue
            inside = ends[tokens] - word.start()
            key = (word.group(), inside.tobytes())
            known = self._known.setdefault(key, len(self.spellings))
            if known == len(self.spellings):
                self.spellings.append(word.group())
                self.ends += inside.tolist()
                self.starts.append(len(self.ends))
                self.counts.append(0)
            self.counts[known] += 1
            places[tokens] = self.starts[known] + np.arange(len(tokens))
        self.places.append(places)

    def add(self, texts: Sequence[int], states: Mapping[int, Tensor]) -> None:
        """Add what the teacher made of some of the announced texts.

        Args:
            texts: Their numbers, in the order they were announced, [B].
            states: Of each layer, [B, T, H]; what stands behind a text's own tokens is passed over.
        """
        rows = np.concatenate([np.full(len(self.places[n]), b) for b, n in enumerate(texts)])
        columns = np.concatenate([np.arange(len(self.places[n])) for n in texts])
        places = np.concatenate([self.places[n] for n in texts])
        inside = places >= 0
        rows, columns, places = (torch.from_numpy(part[inside]) for part in (rows, columns, places))
        for layer, states_BTH in states.items():
            found = states_BTH[rows.to(states_BTH.device), columns.to(states_BTH.device)]
            if layer not in self.sums:
                self.sums[layer] = torch.zeros(len(self.ends), states_BTH.shape[-1])
            self.sums[layer].index_add_(0, places, found.float().cpu())

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for `words_of`."""
        counts = np.array(self.counts, dtype=np.int64)
        starts = np.array(self.starts, dtype=np.int64)
        of_token = torch.from_numpy(np.repeat(counts, np.diff(starts)))
        spelled = json.dumps(self.spellings, ensure_ascii=True).encode("ascii")
        named = {
            "words.spellings": np.frombuffer(spelled, dtype=np.uint8),
            "words.starts": starts,
            "words.ends": np.array(self.ends, dtype=np.int64),
            "words.counts": counts,
        }
        for layer, sums in self.sums.items():
            means = (sums / of_token[:, None]).clamp(-_LARGEST, _LARGEST)
            named[f"words.states.{layer}"] = means.to(torch.float16).numpy()
        return named


def words_of(arrays: Mapping[str, np.ndarray], layer: int) -> Words:
    """The words among named arrays that `WordSums.arrays` made."""
    return Words(
        spellings=json.loads(arrays["words.spellings"].tobytes()),
        starts=arrays["words.starts"],
        ends=arrays["words.ends"],
        counts=arrays["words.counts"],
        states=arrays[f"words.states.{layer}"],
    )
