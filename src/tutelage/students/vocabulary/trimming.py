"""The teacher's tokenizer, cut to what a corpus uses.

In: a byte-level BPE tokenizer and texts. Out: a smaller one that segments these texts exactly as
the large one does, and any other text without loss, since all 256 bytes stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tutelage.errors import ModelError
from tutelage.students.vocabulary.training import CLS, MASK, PAD, SEP, add_boundaries, wrap

NEW = -1
"""Stands in the map for a token that the teacher does not have."""


def trim_tokenizer(
    teacher_tokenizer: Any, texts: Iterable[str], *, max_length: int = 128, boundaries: bool = False
) -> tuple[PreTrainedTokenizerFast, np.ndarray]:
    """The teacher's byte-level BPE with only the tokens and merges that `texts` use, all bytes and
    special tokens.

    A merge that never applies to a text can be dropped without changing how that text is segmented.
    The merges that do apply are those that build each token of the result from its own bytes, since
    none ever crosses a final boundary.

    Args:
        teacher_tokenizer: A fast tokenizer of transformers.
        texts: The corpus.
        max_length: Where texts are truncated, in tokens.
        boundaries: Put `[CLS]` and `[SEP]` around every text, for classes that need them.

    Returns:
        The tokenizer, `[PAD]` as id 0 and `[MASK]` 1, and an int64 array [V]: the teacher's id of
        every new id, -1 for tokens that the teacher lacks.

    Raises:
        ModelError: The tokenizer is no byte-level BPE.
    """
    state = byte_level_state(teacher_tokenizer)
    model = state["model"]
    vocabulary: dict[str, int] = model["vocab"]
    merges = [
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        for merge in model["merges"]
    ]
    rank = {merge: index for index, merge in reversed(list(enumerate(merges)))}
    added = sorted(state["added_tokens"], key=lambda token: token["id"])
    added_names = {token["content"] for token in added}

    names = {index: name for name, index in vocabulary.items()}
    encoded = teacher_tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    used = {
        names[index] for index in {index for ids in encoded for index in ids} if index in names
    } - added_names
    applied: set[int] = set()
    for token in used:
        applied.update(merges_of(token, rank))
    kept = [merges[index] for index in sorted(applied)]
    wanted = (
        used | set(pre_tokenizers.ByteLevel.alphabet()) | {left + right for left, right in kept}
    )
    tokens = sorted((token for token in wanted if token in vocabulary), key=vocabulary.__getitem__)

    teacher_ids = {**vocabulary, **{token["content"]: token["id"] for token in added}}
    own = [PAD, MASK, *([CLS, SEP] if boundaries else [])]
    order = [*own, *(token["content"] for token in added if token["content"] not in own)]
    order += [token for token in tokens if token not in set(order)]
    state["model"] = {
        **model,
        "vocab": {token: index for index, token in enumerate(order)},
        "merges": kept,
    }
    known = {token["content"]: token for token in added}
    state["added_tokens"] = [
        {**known.get(token, _special(token)), "id": index}
        for index, token in enumerate(order)
        if token in known or token in own
    ]
    state |= {"post_processor": None, "truncation": None, "padding": None}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if boundaries:
        add_boundaries(tokenizer)
    trimmed = wrap(tokenizer, max_length=max_length, boundaries=boundaries, unknown=False)
    return trimmed, np.array([teacher_ids.get(token, NEW) for token in order], dtype=np.int64)


def byte_level_state(teacher_tokenizer: Any) -> dict[str, Any]:
    """What a byte-level BPE tokenizer consists of, as tokenizer.json writes it.

    Raises:
        ModelError: The tokenizer is of another kind, and so cannot be trimmed.
    """
    backend = getattr(teacher_tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend is not None else {}
    is_bpe = state.get("model", {}).get("type") == "BPE"
    if not is_bpe or '"ByteLevel"' not in json.dumps(state.get("pre_tokenizer")):
        raise ModelError(
            f"the teacher's tokenizer ({type(teacher_tokenizer).__name__}) is no byte-level BPE "
            "and cannot be trimmed: "
            "choose tokenizer kind wordpiece or bpe"
        )
    return state


def _special(token: str) -> dict[str, Any]:
    return {
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def merge_ranks(model: Mapping[str, Any]) -> dict[tuple[str, ...], int]:
    """The place of every merge of a byte-pair model, by its two parts; each counts once."""
    pairs = (
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        for merge in model["merges"]
    )
    return {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}


def merges_of(token: str, rank: Mapping[tuple[str, ...], int]) -> set[int]:
    """Ranks of the merges that build a token from its bytes.

    Args:
        token: As the vocabulary writes it.
        rank: Of every merge, by its two parts.

    Returns:
        Those that byte-pair encoding applies to the token on its own; none for a single letter.
    """
    pieces, applied = list(token), set()
    while len(pieces) > 1:
        best = min(rank.get(pair, len(rank)) for pair in pairwise(pieces))
        if best == len(rank):
            break
        applied.add(best)
        merged: list[str] = []
        for piece in pieces:
            if merged and rank.get((merged[-1], piece)) == best:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged
    return applied
