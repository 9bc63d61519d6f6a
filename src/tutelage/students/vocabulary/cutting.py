"""A model without the tokens that a corpus does not use, and its tokenizer without them.

In: a model, its tokenizer, the ids to keep. Out: both, smaller, and a table from old ids to new
ones. Texts of the corpus are segmented exactly as before; any other text is still spelled, in
smaller pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tutelage.errors import ModelError
from tutelage.models.loading import changed_config, rebuild
from tutelage.students.vocabulary.trimming import merge_ranks, merges_of

GONE = -1
"""Stands in the table for a token that was taken out."""
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
"""A byte of a vocabulary that falls back to bytes for letters it lacks."""
SETTINGS = (
    "model_max_length", "padding_side", "truncation_side", "model_input_names",
    "clean_up_tokenization_spaces", "split_special_tokens", "chat_template",
)  # fmt: skip
"""What a tokenizer carries beside its `tokenizer.json` and its special tokens."""


def trim_vocabulary(
    model: Any,
    tokenizer: Any,
    keep_ids: Iterable[int],
    *,
    texts: Sequence[str] = (),
    spells_all: bool = True,
) -> tuple[Any, PreTrainedTokenizerFast, NDArray[np.int64]]:
    """Take out of a model and its tokenizer the tokens that are not kept.

    Beside `keep_ids` everything stays that they are built from by merging, all single bytes (of
    WordPiece, letters), the marks of spaces, all added tokens, and those that the configuration
    names. A merge that is applied to a text builds a part of one of its tokens, so without all
    other merges the text comes out the same; so does the longest piece that is there. Tokens keep
    their order. Logits of kept tokens do not change; their probabilities grow by what the others
    had.

    Args:
        model: A causal language model or classifier of transformers; left as it was.
        tokenizer: Its fast tokenizer, WordPiece or byte-pair encoding down to bytes.
        keep_ids: Ids that the corpus uses, each below the size of the tokenizer.
        texts: Some of the corpus, encoded by both tokenizers as a check.
        spells_all: Refuse a tokenizer that has no token for some letters, as WordPiece: a text with
            them is lost, which a classifier can live with.

    Returns:
        The model, in float32, on the CPU, in training mode; the tokenizer; and an int64 array [V]
        with the new id of each old one, -1 for tokens that are gone. V is the number of rows of the
        old model, with its padding.

    Raises:
        ModelError: The tokenizer is of another kind, the two tokenizers differ on a text, or the
            model has more that depends on the vocabulary than its input and output matrices.
        ValueError: An id that the tokenizer does not have.
    """
    state = _state(tokenizer, spells_all=spells_all)
    num_tokens, rows = len(tokenizer), model.get_input_embeddings().weight.shape[0]
    if num_tokens > rows:
        raise ModelError(
            f"the tokenizer has {num_tokens} tokens, the model embeddings for {rows} only: give "
            "the model's own "
            "tokenizer, or resize the model's embeddings"
        )
    named = _named_ids(model.config, getattr(model, "generation_config", None))
    order = _order(keep_ids, named, num_tokens, state)
    remap = np.full(rows, GONE, dtype=np.int64)
    remap[order] = np.arange(len(order))
    trimmed = _trimmed_tokenizer(tokenizer, state, remap)
    _require_same(tokenizer, trimmed, remap, texts)
    return _trimmed_model(model, order, remap), trimmed, remap


def needed_ids(
    tokenizer: Any, used_ids: Iterable[int], *, config: Any = None, spells_all: bool = True
) -> NDArray[np.int64]:
    """The ids that `trim_vocabulary` would keep, told from the tokenizer alone.

    Args:
        tokenizer: The large model's.
        used_ids: Ids that the corpus uses.
        config: The large model's configuration, whose special ids stay, too.
        spells_all: As for `trim_vocabulary`.

    Returns:
        int64, ascending.

    Raises:
        ModelError: The tokenizer is of a kind that cannot be trimmed.
        ValueError: An id that the tokenizer does not have.
    """
    state = _state(tokenizer, spells_all=spells_all)
    return _order(used_ids, _named_ids(config), len(tokenizer), state)


def _order(
    keep_ids: Iterable[int], named: Iterable[int], num_tokens: int, state: Mapping[str, Any]
) -> NDArray[np.int64]:
    """All old ids that stay, ascending."""
    kept = {int(index) for index in keep_ids}
    strange = sorted(index for index in kept if not 0 <= index < num_tokens)
    if strange:
        raise ValueError(
            f"keep_ids holds {strange[0]}, but the tokenizer has the ids 0 to {num_tokens - 1}: "
            "encode the corpus with it"
        )
    return _closed(kept | {index for index in named if index < num_tokens}, state)


def _state(tokenizer: Any, *, spells_all: bool) -> dict[str, Any]:
    """The tokenizer as JSON; refused if exactness cannot be promised for its kind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    name = type(tokenizer).__name__
    if backend is None:
        raise ModelError(
            f"{name} is not a fast tokenizer, so its vocabulary cannot be trimmed: "
            "set vocabulary: full"
        )
    state = json.loads(backend.to_str())
    model = state["model"]
    if (
        model.get("type") == "WordPiece" and not spells_all
    ):  # the longest piece that is there, so less takes no part
        return state
    if (
        model.get("type") != "BPE"
        or model.get("continuing_subword_prefix")
        or model.get("end_of_word_suffix")
    ):
        raise ModelError(
            f"{name} is a {model.get('type')} tokenizer; expected byte-pair encoding without marks "
            "inside words, since only there it is certain that the corpus is encoded as before: "
            "set vocabulary: full"
        )
    if model.get("dropout"):
        raise ModelError(
            f"{name} draws its merges by chance (dropout {model['dropout']}): set vocabulary: full"
        )
    if not any(token in model["vocab"] for token in _bytes(state)):
        raise ModelError(
            f"{name} does not spell unknown words in bytes, so a smaller one could not spell every "
            "text: set vocabulary: full"
        )
    return state


def _bytes(state: Mapping[str, Any]) -> list[str]:
    """The tokens that single bytes are written as; none if this vocabulary does not write bytes."""
    if '"ByteLevel"' in json.dumps([state.get("pre_tokenizer"), state.get("normalizer")]):
        return sorted(pre_tokenizers.ByteLevel.alphabet())
    return [f"<0x{byte:02X}>" for byte in range(256)] if state["model"].get("byte_fallback") else []


def _marks(state: Mapping[str, Any]) -> set[str]:
    """Letters that stand for something, as the mark of a space does; as bytes they would be read
    for themselves.
    """
    waiting = [state.get("normalizer"), state.get("pre_tokenizer"), state.get("decoder")]
    found: set[str] = set()
    while waiting:
        match waiting.pop():
            case str(letter) if len(letter) == 1:
                found.add(letter)
            case dict(parts):
                waiting += parts.values()
            case list(parts):
                waiting += parts
    return found


def _closed(kept: Iterable[int], state: Mapping[str, Any]) -> NDArray[np.int64]:
    """All old ids that stay, ascending: those given, and what they and the tokenizer need."""
    model = state["model"]
    vocabulary: dict[str, int] = model["vocab"]
    names = {index: token for token, index in vocabulary.items()}
    rank = merge_ranks(model) if "merges" in model else {}
    merges = list(rank)
    closed = (
        set(kept)
        | {token["id"] for token in state["added_tokens"]}
        | set(_processor_ids(state["post_processor"]))
    )
    closed |= {
        vocabulary[token] for token in (*_bytes(state), *_marks(state)) if token in vocabulary
    }
    if model.get("unk_token") in vocabulary:
        closed.add(vocabulary[model["unk_token"]])
    if model["type"] == "WordPiece":
        closed |= {index for token, index in vocabulary.items() if _is_letter(token, model)}
    applied: set[int] = set()
    for index in kept:
        if index in names and not BYTE_TOKEN.fullmatch(names[index]):
            applied |= merges_of(names[index], rank)
    for place in applied:
        left, right = merges[place]
        closed |= {vocabulary[left], vocabulary[right], vocabulary[left + right]}
    return np.array(sorted(closed), dtype=np.int64)


def _is_letter(token: str, model: Mapping[str, Any]) -> bool:
    """Whether a piece is a single letter, at the beginning of a word or inside."""
    return len(token) == 1 or len(token.removeprefix(model["continuing_subword_prefix"])) == 1


def _trimmed_tokenizer(
    tokenizer: Any, state: dict[str, Any], remap: NDArray[np.int64]
) -> PreTrainedTokenizerFast:
    """The same tokenizer over the tokens that stay."""
    model = state["model"]
    vocabulary = {
        token: int(remap[index]) for token, index in model["vocab"].items() if _stays(remap, index)
    }
    merges = {}
    if "merges" in model:
        merges["merges"] = [
            list(pair)
            for pair in merge_ranks(model)
            if {*pair, pair[0] + pair[1]} <= vocabulary.keys()
        ]
    added = [{**token, "id": int(remap[token["id"]])} for token in state["added_tokens"]]
    trimmed = {
        **state,
        "model": {**model, "vocab": vocabulary, **merges},
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "post_processor": _remapped_processor(state["post_processor"], remap),
        "truncation": None,
        "padding": None,
    }
    settings = {
        name: getattr(tokenizer, name)
        for name in SETTINGS
        if getattr(tokenizer, name, None) is not None
    }
    special = {name: getattr(tokenizer, name) for name in tokenizer.special_tokens_map}
    more = list(getattr(tokenizer, "extra_special_tokens", None) or ())
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(trimmed)),
        **settings,
        **special,
        **({"extra_special_tokens": more} if more else {}),
    )


def _stays(remap: NDArray[np.int64], index: int) -> bool:
    return 0 <= index < len(remap) and remap[index] != GONE


def _processor_ids(processor: Mapping[str, Any] | None) -> list[int]:
    """Ids that are put around every text."""
    match processor:
        case None:
            return []
        case {"type": "Sequence", "processors": parts}:
            return [index for part in parts for index in _processor_ids(part)]
        case {"type": "TemplateProcessing", "special_tokens": tokens}:
            return [index for token in tokens.values() for index in token["ids"]]
        case {"type": "RobertaProcessing" | "BertProcessing", "sep": sep, "cls": cls}:
            return [sep[1], cls[1]]
        case {"type": "ByteLevel"}:
            return []
    raise ModelError(
        f"the tokenizer ends with a step of type {processor.get('type')}, whose ids cannot be "
        "changed: set vocabulary: full"
    )


def _remapped_processor(processor: Any, remap: NDArray[np.int64]) -> Any:
    """The same step with new ids."""
    match processor:
        case {"type": "Sequence", "processors": parts}:
            return {**processor, "processors": [_remapped_processor(part, remap) for part in parts]}
        case {"type": "TemplateProcessing", "special_tokens": tokens}:
            new = {
                name: {**token, "ids": [int(remap[i]) for i in token["ids"]]}
                for name, token in tokens.items()
            }
            return {**processor, "special_tokens": new}
        case {"type": "RobertaProcessing" | "BertProcessing", "sep": sep, "cls": cls}:
            return {
                **processor,
                "sep": [sep[0], int(remap[sep[1]])],
                "cls": [cls[0], int(remap[cls[1]])],
            }
    return processor


def _require_same(old: Any, new: Any, remap: NDArray[np.int64], texts: Sequence[str]) -> None:
    """Encode texts with both; refuse the first difference."""
    for text in texts:
        expected, found = old(text)["input_ids"], new(text)["input_ids"]
        if [int(remap[index]) for index in expected] != list(found):
            raise ModelError(
                f"the trimmed tokenizer encodes {text[:60]!r} in another way: give the ids of all "
                "texts as keep_ids, or set vocabulary: full"
            )


def _named_ids(*all_settings: Any) -> list[int]:
    """Ids that the configuration and the settings of generation name."""
    found: list[int] = []
    for settings in all_settings:
        for value in _id_entries(settings).values():
            found += value if isinstance(value, list) else [value]
    return [index for index in found if index >= 0]


def _id_entries(settings: Any) -> dict[str, Any]:
    """Entries such as `eos_token_id` that hold ids."""
    entries = {} if settings is None else settings.to_dict()
    return {
        name: value
        for name, value in entries.items()
        if name.endswith("_token_id") and value is not None
    }


def _new_ids(settings: Any, remap: NDArray[np.int64]) -> dict[str, Any]:
    """The same entries with new ids; what the tokenizer never had is left out."""
    changed: dict[str, Any] = {}
    for name, value in _id_entries(settings).items():
        if isinstance(value, list):
            changed[name] = [int(remap[index]) for index in value if _stays(remap, index)] or None
        else:
            changed[name] = int(remap[value]) if _stays(remap, value) else None
    return changed


def _trimmed_model(model: Any, order: NDArray[np.int64], remap: NDArray[np.int64]) -> Any:
    """The model with the rows that stay."""
    output = model.get_output_embeddings()
    by_row = {id(model.get_input_embeddings().weight)}
    if output is not None:
        by_row |= {id(parameter) for parameter in output.parameters()}
    rows = torch.from_numpy(order)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    weights = {}
    for name, weight in model.state_dict().items():
        cut = id(parameters.get(name)) in by_row
        weights[name] = weight.index_select(0, rows.to(weight.device)) if cut else weight
    config = changed_config(
        model.config, {"vocab_size": len(order), **_new_ids(model.config, remap)}
    )
    try:
        trimmed = rebuild(model, config, weights)
    except RuntimeError as error:
        raise ModelError(
            f"{type(model).__name__} has more that depends on the vocabulary than its input and "
            "output matrices: set vocabulary: full"
        ) from error
    for name, value in _new_ids(getattr(model, "generation_config", None), remap).items():
        setattr(trimmed.generation_config, name, value)
    return trimmed
