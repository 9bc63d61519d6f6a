"""A student that has weights already: any model of transformers with an encoder or a classifier in
it.

In: a folder, a hub id or `package:NAME`, class names. Out: a sequence classifier for those classes and its
tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.facts import context_tokens
from tutelage.models.pretrained import UNREADABLE, from_pretrained, register
from tutelage.models.reading import model_folder, read_config, read_tokenizer
from tutelage.students.configurations import are_generic, label_names


def load_pretrained(
    model: Path | str, *, labels: Sequence[str], max_length: int | None = None
) -> tuple[Any, Any]:
    """A sequence classifier and its tokenizer from a folder or the hub.

    A model that is an encoder without a classifier gets a fresh one. A model that is a classifier
    must name the same classes in the same order; placeholder names (`LABEL_0`) are replaced.

    Args:
        model: A folder with `config.json`, weights in safetensors and tokenizer files, a hub id
            (`owner/name`), or `package:NAME`.
        labels: Class names in the order of the logits.
        max_length: Where the tokenizer truncates; None means as the model says, at most 512.

    Returns:
        The model, in evaluation mode, and the tokenizer, padding on the right.

    Raises:
        ModelError: There is no such model, it lacks a configuration, a tokenizer or weights, or its
            classes are others.
    """
    config, tokenizer = read_pretrained(model, labels=labels)
    config.id2label, config.label2id = label_names(labels)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    spec = str(model)
    try:
        network = from_pretrained("sequence", spec, model_folder(spec), config=config)
    except (*UNREADABLE, RuntimeError) as error:
        raise ModelError(
            f"{model} ({config.model_type}) does not load as a sequence classifier ({error}): give "
            "an encoder or a sequence classifier with its weights in safetensors"
        ) from error
    longest = min(tokenizer.model_max_length, context_tokens(config) or 512, 512)
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
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    config, tokenizer = read_config(str(model)), read_tokenizer(str(model))
    register()
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"{model} is of the kind {config.model_type}, which transformers has no sequence "
            "classifier for: give an encoder or a sequence classifier"
        )
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        names = [config.id2label[index] for index in sorted(config.id2label)]
        if len(names) != len(labels) or (
            not are_generic(config.id2label) and names != list(labels)
        ):
            raise ModelError(
                f"{model} classifies into {names}, but the task's labels are {list(labels)}: write "
                "the task's labels as the model names them, in its order, or use another model"
            )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {model} has no padding token: set one and save the tokenizer again"
        )
    return config, tokenizer
