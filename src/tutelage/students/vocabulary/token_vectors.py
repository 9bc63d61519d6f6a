"""What the tokens of a student say, and what a teacher makes of each, before it is reduced to the
student's width.

In: the student's tokenizer, the teacher's language model, perhaps running text. Out: a text for
each token, with a leading space where the token starts a word; a vector of the teacher's width for
each token that has text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from tokenizers import pre_tokenizers
from torch import Tensor, nn

from tutelage.students.pruning.layer_states import run_layers
from tutelage.types import Progress

LONGEST_TEXT = 512
"""Tokens of a running text that the teacher reads."""
OCCURRENCES_FOR_HALF = 3
"""A token seen this often takes half of its vector from running text, half from the token on its
own."""


class ModelWithTokenizer(Protocol):
    """What is asked of a teacher here: a transformers model and its tokenizer."""

    model: Any
    tokenizer: Any


class ReadWords(Protocol):
    """What a teacher made of U words, as it cut them into P tokens in all."""

    @property
    def spellings(self) -> Sequence[str]:
        """Each word with the white space before it."""
        ...

    @property
    def starts(self) -> np.ndarray:
        """Where the tokens of each word begin among the P, [U + 1]."""
        ...

    @property
    def ends(self) -> np.ndarray:
        """The character of its word behind each token, [P]."""
        ...

    @property
    def counts(self) -> np.ndarray:
        """How often each word was read, [U]."""
        ...

    @property
    def states(self) -> np.ndarray:
        """Mean state of each token, [P, H]."""
        ...


@runtime_checkable
class RemembersWords(Protocol):
    """A language model that has read texts before, with what it made of their words."""

    def words(self, texts: Sequence[str], *, layer: int) -> Iterator[ReadWords] | None:
        """Words at a layer, part by part; None unless all of these texts are among those read."""
        ...


def token_pieces(tokenizer: Any, teacher_tokenizer: Any) -> list[list[int]]:
    """The teacher's token ids for every student token; empty where there is nothing to look up."""
    texts = token_texts(tokenizer)
    shared = (
        teacher_tokenizer.get_vocab()
        if _is_byte_level(tokenizer) and _is_byte_level(teacher_tokenizer)
        else {}
    )
    names = tokenizer.convert_ids_to_tokens(list(range(len(texts))))
    special = set(tokenizer.all_special_ids)
    found = [
        [shared[name]] if name in shared and row not in special else []
        for row, name in enumerate(names)
    ]
    rows = [row for row, text in enumerate(texts) if text and not found[row]]
    if rows:
        ids = teacher_tokenizer([texts[row] for row in rows], add_special_tokens=False)["input_ids"]
        for row, of_row in zip(rows, ids, strict=True):
            found[row] = list(of_row)
    return found


def token_vectors(
    tokenizer: Any,
    language_model: ModelWithTokenizer,
    pieces: Sequence[Sequence[int]],
    rows: Sequence[int],
    *,
    contextual_layer: int | None,
    texts: Sequence[str],
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """The teacher's vectors of student tokens, and how often each occurs in running text.

    Args:
        tokenizer: The student's, V tokens.
        language_model: The teacher's.
        pieces: For each of the V tokens the teacher's ids, from `token_pieces`.
        rows: The N tokens asked for; each has pieces.
        contextual_layer: As for `teacher_embeddings`.
        texts: Running text, used with a layer only. A language model that remembers what it made
            of the words in it (`RemembersWords`) does not read it again.
        progress: Where the bar goes.

    Returns:
        Vectors, float32 [N, H], and counts, float32 [N].
    """
    model, teacher_tokenizer = language_model.model, language_model.tokenizer
    counts = torch.zeros(len(pieces))
    words = None
    if contextual_layer is not None and isinstance(language_model, RemembersWords):
        words = language_model.words(texts, layer=contextual_layer)
    total = len(rows) + (len(texts) if words is None else 0)
    with (
        torch.inference_mode(),
        progress.bar("Embeddings from the teacher", total=total, unit="texts") as advance,
    ):
        if contextual_layer is None:
            vectors = _input_vectors(model, [pieces[row] for row in rows])
            advance(len(rows))
            return vectors, counts[rows]
        run = partial(
            run_layers,
            model,
            layer=contextual_layer,
            begin=teacher_tokenizer.bos_token_id,
            advance=advance,
        )
        alone = torch.zeros(len(pieces), model.get_input_embeddings().weight.shape[1])
        run(
            [pieces[row] for row in rows],
            take=lambda row, states: alone[rows[row]].copy_(states.mean(0)),
        )
        sums = torch.zeros_like(alone)
        if words is not None:
            for of_part in words:
                _add_words(tokenizer, of_part, sums=sums, counts=counts)
        else:
            ends = _token_ends(tokenizer, teacher_tokenizer, texts)

            def take(row: int, states: Tensor) -> None:
                student_ids, positions = ends[row][1:]
                sums.index_add_(0, student_ids, states[positions])
                counts.index_add_(0, student_ids, torch.ones(len(student_ids)))

            run([of_text[0] for of_text in ends], take=take)
        share = (counts / (counts + OCCURRENCES_FOR_HALF))[:, None]
        vectors = share * sums / counts.clamp_min(1)[:, None] + (1 - share) * alone
    return vectors[rows].clone(), counts[rows].clone()


def pair_pieces(
    tokenizer: Any, teacher_tokenizer: Any, pairs: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """The teacher's token ids for the text of pairs of student tokens, each of which has text."""
    texts = token_texts(tokenizer)
    joined = ["".join(texts[token] or "" for token in pair) for pair in pairs]
    return teacher_tokenizer(joined, add_special_tokens=False)["input_ids"]


def pair_vectors(
    language_model: ModelWithTokenizer,
    pieces: Sequence[Sequence[int]],
    *,
    contextual_layer: int | None,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """The teacher's vectors of N pairs of tokens, each on its own.

    It is the mean over the pieces of both, as for a token on its own. (The state at the end alone,
    which has read both, did worse: docs/log.md.)

    Args:
        language_model: The teacher's.
        pieces: From `pair_pieces`.
        contextual_layer: As for `teacher_embeddings`.
        progress: Where the bar goes.

    Returns:
        Vectors, float32 [N, H], and zeros [N], since no running text was read.
    """
    model, counts = language_model.model, torch.zeros(len(pieces))
    with (
        torch.inference_mode(),
        progress.bar("Pairs of words", total=len(pieces), unit="texts") as advance,
    ):
        if contextual_layer is None:
            vectors = _input_vectors(model, pieces)
            advance(len(pieces))
        else:
            vectors = torch.zeros(len(pieces), model.get_input_embeddings().weight.shape[1])
            run_layers(
                model,
                pieces,
                layer=contextual_layer,
                begin=language_model.tokenizer.bos_token_id,
                advance=advance,
                take=lambda row, states: vectors[row].copy_(states.mean(0)),
            )
    return vectors.clone(), counts


def _is_byte_level(tokenizer: Any) -> bool:
    return '"ByteLevel"' in tokenizer.backend_tokenizer.to_str().partition('"model":')[0]


def _input_vectors(model: Any, pieces: Sequence[Sequence[int]]) -> Tensor:
    """Mean of the teacher's input embeddings of each token's pieces."""
    weight = model.get_input_embeddings().weight
    flat = torch.tensor([index for ids in pieces for index in ids], device=weight.device)
    starts = torch.tensor([0, *(len(ids) for ids in pieces[:-1])], device=weight.device).cumsum(0)
    return nn.functional.embedding_bag(flat, weight.float(), starts, mode="mean").cpu()


def _add_words(tokenizer: Any, words: ReadWords, *, sums: Tensor, counts: Tensor) -> None:
    """Add the teacher's states where the student's tokens end in words, and how often.

    Args:
        tokenizer: The student's.
        words: What the teacher made of words.
        sums: Of each of the student's tokens, [V, H]; added to.
        counts: Of each of the student's tokens, [V]; added to.
    """
    encoded = tokenizer(
        list(words.spellings), add_special_tokens=False, return_offsets_mapping=True
    )
    lengths = [len(ids) for ids in encoded["input_ids"]]
    ids = np.array([index for of_word in encoded["input_ids"] for index in of_word], dtype=np.int64)
    wanted = [end for of_word in encoded["offset_mapping"] for _, end in of_word]
    word_of = np.repeat(np.arange(len(lengths)), lengths)
    # One search for all words: each begins behind the end of the one before.
    offsets = np.cumsum([0, *(len(spelling) + 1 for spelling in words.spellings)])
    ends = words.ends + np.repeat(offsets[:-1], np.diff(words.starts))
    positions = np.searchsorted(ends, np.asarray(wanted, dtype=np.int64) + offsets[word_of])
    inside = positions < words.starts[word_of + 1]
    times = torch.from_numpy(words.counts[word_of[inside]]).float()
    rows = torch.from_numpy(ids[inside])
    states = torch.from_numpy(words.states[positions[inside]].astype(np.float32))
    sums.index_add_(0, rows, states * times[:, None])
    counts.index_add_(0, rows, times)


def _token_ends(
    tokenizer: Any, teacher_tokenizer: Any, texts: Sequence[str]
) -> list[tuple[list[int], Tensor, Tensor]]:
    """Per text: the teacher's ids, the student's, and where in the teacher's each of the student's
    tokens ends.
    """
    if not texts:
        return []
    settings = {"add_special_tokens": False, "return_offsets_mapping": True, "truncation": True}
    student = tokenizer(list(texts), **settings)
    teacher = teacher_tokenizer(list(texts), max_length=LONGEST_TEXT, **settings)
    found = []
    for row, ids in enumerate(teacher["input_ids"]):
        ends = torch.tensor([end for _, end in teacher["offset_mapping"][row]], dtype=torch.long)
        wanted = torch.tensor([end for _, end in student["offset_mapping"][row]], dtype=torch.long)
        positions = torch.searchsorted(ends, wanted)
        inside = positions < len(ids)
        found.append(
            (
                list(ids),
                torch.tensor(student["input_ids"][row], dtype=torch.long)[inside],
                positions[inside],
            )
        )
    return found


def token_texts(tokenizer: Any) -> list[str | None]:
    """The text of every token.

    Args:
        tokenizer: A fast tokenizer: WordPiece, word-level, or byte-level BPE.

    Returns:
        V texts in the order of ids. A token that starts a word has a leading space, a continuing
        piece has none, neither has a punctuation mark, which usually stands behind a word. None for
        special tokens and for bytes that are no whole character.

    Raises:
        ValueError: The tokenizer is of another kind.
    """
    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    kind = state["model"]["type"]
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids) | {token["id"] for token in state["added_tokens"]}
    match kind:
        case "WordPiece":
            prefix = state["model"]["continuing_subword_prefix"]
            texts = [_word_text(name, prefix) for name in names]
        case "WordLevel":
            texts = [_word_text(name, None) for name in names]
        case "BPE" if '"ByteLevel"' in json.dumps(state["pre_tokenizer"]):
            texts = [_byte_text(name) for name in names]
        case _:
            raise ValueError(
                f"a {kind} tokenizer was given: expected WordPiece, WordLevel or byte-level BPE"
            )
    return [None if index in special else text for index, text in enumerate(texts)]


def _word_text(name: str, prefix: str | None) -> str:
    if prefix and name.startswith(prefix) and len(name) > len(prefix):
        return name[len(prefix) :]
    return f" {name}" if any(letter.isalnum() for letter in name) else name


def _byte_text(name: str) -> str | None:
    table = _byte_of_letter()
    try:
        return bytes(table[letter] for letter in name).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None


@cache
def _byte_of_letter() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: printable ones for
    themselves, others beyond.
    """
    letters = set(pre_tokenizers.ByteLevel.alphabet())
    themselves = {letter: ord(letter) for letter in letters if ord(letter) < 256}
    others = (byte for byte in range(256) if byte not in set(themselves.values()))
    return themselves | dict(zip(sorted(letters - set(themselves)), others, strict=True))
