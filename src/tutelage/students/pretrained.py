"""A student that has weights already: any folder of transformers with an encoder or a sequence classifier in it.

In: a folder, class names. Out: a sequence classifier for those classes and its tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import ModelError
from tutelage.students.labels import are_generic, label_names
from tutelage.students.quiet import no_progress_bars

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def load_pretrained(folder: Path | str, *, labels: Sequence[str], max_length: int | None = None) -> tuple[Any, Any]:
    """A sequence classifier and its tokenizer from a folder.

    A folder that holds an encoder without a classifier gets a fresh one. A folder that holds a classifier must name the
    same classes in the same order; placeholder names (`LABEL_0`) are replaced.

    Args:
        folder: Has `config.json`, weights and tokenizer files.
        labels: Class names in the order of the logits.
        max_length: Where the tokenizer truncates; None means as the folder says, at most 512.

    Returns:
        The model, in evaluation mode, and the tokenizer, padding on the right.

    Raises:
        ModelError: There is no such folder, it lacks a configuration or a tokenizer, or its classes are others.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder: give one saved by transformers, with config.json in it")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: give a folder saved by transformers' save_pretrained")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES)} all missing): save it beside the model with "
            "tokenizer.save_pretrained"
        )
    try:
        config: Any = AutoConfig.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} cannot be read by transformers ({error}): save the model again") from error
    id2label, label2id = label_names(labels)
    has_head = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    if has_head:
        names = [config.id2label[index] for index in sorted(config.id2label)]
        if len(names) != len(labels) or (not are_generic(config.id2label) and names != list(labels)):
            raise ModelError(
                f"{folder} classifies into {names}, but the task's labels are {list(labels)}: write the task's labels "
                "as the model names them, in its order, or use another model"
            )
    config.id2label, config.label2id = id2label, label2id
    if tokenizer.pad_token_id is None:
        raise ModelError(f"the tokenizer of {folder} has no padding token: set one and save the tokenizer again")
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    try:
        with no_progress_bars():
            model = AutoModelForSequenceClassification.from_pretrained(folder, config=config)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{folder} ({config.model_type}) does not load as a sequence classifier ({error}): give a folder of an "
            "encoder or of a sequence classifier"
        ) from error
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or 512, 512)
    tokenizer.model_max_length = min(longest, max_length or longest)
    tokenizer.padding_side = "right"
    return model.eval(), tokenizer
