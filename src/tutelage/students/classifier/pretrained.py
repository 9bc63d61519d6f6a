"""A student that has weights already: any folder or hub model of transformers with an encoder or a
classifier in it.

In: a folder or a hub id, class names. Out: a sequence classifier for those classes and its
tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.quiet import no_progress_bars
from tutelage.students.classifier.labels import are_generic, label_names

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def load_pretrained(
    model: Path | str, *, labels: Sequence[str], max_length: int | None = None
) -> tuple[Any, Any]:
    """A sequence classifier and its tokenizer from a folder or the hub.

    A model that is an encoder without a classifier gets a fresh one. A model that is a classifier
    must name the same classes in the same order; placeholder names (`LABEL_0`) are replaced.

    Args:
        model: A folder with `config.json`, weights in safetensors and tokenizer files, or a hub id
            (`owner/name`).
        labels: Class names in the order of the logits.
        max_length: Where the tokenizer truncates; None means as the model says, at most 512.

    Returns:
        The model, in evaluation mode, and the tokenizer, padding on the right.

    Raises:
        ModelError: There is no such model, it lacks a configuration, a tokenizer or weights, or its
            classes are others.
    """
    from transformers import AutoModelForSequenceClassification

    config, tokenizer = read_pretrained(model, labels=labels)
    config.id2label, config.label2id = label_names(labels)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    try:
        with no_progress_bars():
            network = AutoModelForSequenceClassification.from_pretrained(
                str(model), config=config, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{model} ({config.model_type}) does not load as a sequence classifier ({error}): give "
            "an encoder or a "
            "sequence classifier with its weights in safetensors"
        ) from error
    longest = min(
        tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or 512, 512
    )
    tokenizer.model_max_length = min(longest, max_length or longest)
    tokenizer.padding_side = "right"
    return network.eval(), tokenizer


def read_pretrained(model: Path | str, *, labels: Sequence[str]) -> tuple[Any, Any]:
    """The configuration and the tokenizer of a model that can become a student, without its
    weights.

    Whatever can be told from these two is refused here, so that it can be refused before anything
    is computed.

    Args:
        model: As for `load_pretrained`.
        labels: As for `load_pretrained`.

    Returns:
        Both as the model has them.

    Raises:
        ModelError: As for `load_pretrained`.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoTokenizer

    in_folder = _is_folder(model)
    try:
        config: Any = AutoConfig.from_pretrained(str(model), trust_remote_code=False)
        tokenizer: Any = AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if in_folder:
            raise ModelError(
                f"{model} cannot be read by transformers ({reason}): save the model again"
            ) from error
        raise ModelError(
            f"{model} is not a folder here, and the model hub did not give a model that can be "
            f"used ({reason}): check "
            "the name and the network, or download the model and give its folder"
        ) from error
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"{model} is of the kind {config.model_type}, which transformers has no sequence "
            "classifier for: give an "
            "encoder or a sequence classifier"
        )
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        names = [config.id2label[index] for index in sorted(config.id2label)]
        if len(names) != len(labels) or (
            not are_generic(config.id2label) and names != list(labels)
        ):
            raise ModelError(
                f"{model} classifies into {names}, but the task's labels are {list(labels)}: write "
                "the task's labels "
                "as the model names them, in its order, or use another model"
            )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {model} has no padding token: set one and save the tokenizer again"
        )
    return config, tokenizer


def _is_folder(model: Path | str) -> bool:
    """True for a folder with all that is needed, False for what can only be a hub id."""
    name, folder = str(model), Path(model)
    if not folder.is_dir():
        if (
            folder.exists()
            or folder.is_absolute()
            or name.startswith((".", "~"))
            or name.count("/") != 1
        ):
            raise ModelError(
                f"{name} is not a folder: give one saved by transformers, with config.json in it, "
                "or a hub id "
                "(owner/name)"
            )
        return False
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} has no config.json: give a folder saved by transformers' save_pretrained"
        )
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES)} all missing): save it beside "
            "the model with "
            "tokenizer.save_pretrained"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no weights in safetensors: save them again with save_pretrained, which "
            "writes safetensors"
        )
    return True
