"""What a model's files say about it, looked at before anything is built or read with it.

In: the entries of a `config.json` and how many tensors the weights have; the configuration and the
tokenizer that transformers made of them. Out: nothing, or `ModelError`: a model of 100,000,000
layers would be built for ever, a chat template may loop, a tokenizer may know too few characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.headers import MOST_PARTS, quoted
from tutelage.runs.limits import OutOfLimits, within_limits

_PARTS = re.compile(
    r"layers?$|^n_?layers?|depth|blocks?$|experts?$|groups$|attention_types|stages$"
)
"""Keys that say how many parts a model is made of."""
_MANY = re.compile(r"heads?$|labels$|codebooks|^n_|^num_|_num_|size|positions|width|dim$|^d_")
"""Keys that say how large parts are, or how many outputs there are."""
MOST_LAYERS = 10_000
MOST_OF_ANYTHING = 2**31
_MOST_DEEP = 50


def require_sane_sizes(entries: Any, *, name: str, tensors: int | None = None) -> None:
    """Refuse a configuration whose sizes no model has.

    Args:
        entries: Of `config.json`, or of the header of a GGUF file.
        name: The model, for the message.
        tensors: How many its weights have, where that is known: a layer has one at least, unless
            layers share them.

    Raises:
        ModelError: A number is out of range; it is named.
    """
    if not isinstance(entries, Mapping):
        raise ModelError(
            f"{name}: its configuration is a {type(entries).__name__}, expected an object with "
            "the names of sizes: save the model again with save_pretrained"
        )
    most_parts = MOST_LAYERS if tensors is None else min(MOST_LAYERS, max(MOST_PARTS, tensors))
    for key, value in _numbers(entries, name=name):
        most = MOST_OF_ANYTHING
        if _PARTS.search(key):
            most = most_parts
        elif key == "num_labels":
            most = 1_000_000
        elif not _MANY.search(key):
            most = 2**63 - 1
        if not -most <= value <= most:
            there = "" if tensors is None or most != most_parts else f" and {tensors:,} tensors"
            raise ModelError(
                f"{name}: its configuration says {quoted(key)}: {_shown(value)}, but at most "
                f"{most:,} are possible{there and ' for a model of' + there[4:]}. Correct "
                "config.json, or take another model"
            )


def _numbers(entries: Mapping[str, Any], *, name: str) -> Iterator[tuple[str, int]]:
    """Every whole number with the key it stands under."""
    waiting: list[tuple[str, Any, int]] = [("", entries, 0)]
    while waiting:
        key, value, depth = waiting.pop()
        if depth > _MOST_DEEP:
            raise ModelError(
                f"{name}: its configuration is nested more than {_MOST_DEEP} deep. Save the model "
                "again with save_pretrained"
            )
        if isinstance(value, Mapping):
            waiting += [(str(inner), of, depth + 1) for inner, of in value.items()]
        elif isinstance(value, list):
            waiting += [(key, of, depth + 1) for of in value]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, value


def _shown(value: int) -> str:
    digits = value.bit_length() * 3 // 10
    return f"{value:,}" if digits < 30 else f"a number of some {digits:,} digits"


_COUNTS = ("vocab_size", "hidden_size", "num_hidden_layers")


def require_sane_config(config: Any, *, name: str) -> None:
    """Refuse a configuration that says what no model is: sizes that are no numbers, class names
    that are no texts.

    Args:
        config: Of transformers.
        name: The model, for the message.

    Raises:
        ModelError: It does; the entry is named.
    """
    from transformers import PreTrainedConfig

    advice = "Correct config.json, or save the model again with save_pretrained"
    text = config.get_text_config()
    if not isinstance(text, PreTrainedConfig):
        raise ModelError(
            f"{name}: its configuration says text_config: {quoted(repr(text))}; expected an "
            f"object. {advice}"
        )
    for key in _COUNTS:
        value = getattr(text, key, None)
        if isinstance(value, (list, tuple)):  # of models that see, with a size for every stage
            continue
        if value is not None and (not _is_whole(value) or value < 1):
            raise ModelError(
                f"{name}: its configuration says {key}: {quoted(repr(value))}; expected a whole "
                f"number from 1 on. {advice}"
            )
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None and not _is_whole(positions):
        raise ModelError(
            f"{name}: its configuration says max_position_embeddings: {quoted(repr(positions))}; "
            f"expected a whole number. {advice}"
        )
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = getattr(text, key, None)
        several = value if isinstance(value, (list, tuple)) else [value]
        if any(one is not None and not _is_whole(one) for one in several):
            raise ModelError(
                f"{name}: its configuration says {key}: {quoted(repr(value))}; expected the number "
                f"of a token. {advice}"
            )
    labels = getattr(config, "id2label", None)
    if labels is None:
        return
    if not isinstance(labels, Mapping) or not all(isinstance(one, str) for one in labels.values()):
        raise ModelError(
            f"{name}: its configuration says id2label: {quoted(repr(labels))}; expected a name for "
            f"every class. {advice}"
        )
    if sorted(labels) != list(range(len(labels))):
        raise ModelError(
            f"{name}: id2label in its configuration numbers {len(labels):,} classes as "
            f"{quoted(sorted(labels))}; expected 0, 1, 2 and so on. {advice}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


PROBE_TEXT = "The 3 small cats: caf\u00e9 \u732b\u302a \U0001f642 \u0378!\n\tEnd"
"""Letters, digits, marks, characters of several bytes and one that does not exist: a tokenizer
reads any text."""
PROBE_SECONDS, PROBE_MEMORY_BYTES = 3.0, 2**29
"""What one text or one conversation may take to be read."""


def require_sane_tokenizer(tokenizer: Any, *, name: str) -> None:
    """Refuse a tokenizer that cannot read every text, or whose chat template is none.

    A short text is tokenized and a short conversation rendered. A template that refuses that
    conversation in words of its own is left alone: it may want others.

    Args:
        tokenizer: Of transformers.
        name: The model, for the message.

    Raises:
        ModelError: It cannot; the message says why.
    """
    advice = "save model and tokenizer again with save_pretrained, or take another model"
    length = tokenizer.model_max_length
    if not isinstance(length, (int, float)) or isinstance(length, bool) or not length >= 1:
        raise ModelError(
            f"{name}: tokenizer_config.json says model_max_length: {quoted(repr(length))}; "
            f"expected a number from 1 on. Correct it, or {advice}"
        )
    try:
        ids = within_limits(
            lambda: _probe(tokenizer), seconds=PROBE_SECONDS, memory_bytes=PROBE_MEMORY_BYTES
        )
        tokenizer.decode(ids)
    except (Exception, OutOfLimits) as error:
        said = quoted(f"{type(error).__name__}: {error}")
        raise ModelError(
            f"{name}: its tokenizer cannot read every text ({said}): {advice}"
        ) from error
    if len(tokenizer) == 0 or not ids:
        raise ModelError(f"{name}: its tokenizer makes no tokens of a text: {advice}")
    if getattr(tokenizer, "chat_template", None):
        _require_template(tokenizer, name=name)


def _probe(tokenizer: Any) -> list[int]:
    """The ids of a text. Asked of what is below where there is that, for a call of the tokenizer
    itself would forget how it was told to pad and to cut.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return list(tokenizer(PROBE_TEXT)["input_ids"])
    return list(backend.encode(PROBE_TEXT).ids)


def _require_template(tokenizer: Any, *, name: str) -> None:
    from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError

    turns = [{"role": "user", "content": "Hello"}]
    try:
        within_limits(
            lambda: tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            ),
            seconds=PROBE_SECONDS,
            memory_bytes=PROBE_MEMORY_BYTES,
        )
    except TemplateSyntaxError as error:
        said = f"line {error.lineno}: {error.message}"
    except SecurityError as error:
        said = str(error)
    except OutOfLimits as error:
        said = str(error)
    except (TemplateError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        return
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    else:
        return
    raise ModelError(
        f"{name}: its chat template cannot be rendered ({quoted(said)}): correct it in "
        "chat_template.jinja or tokenizer_config.json, or take another model"
    )
