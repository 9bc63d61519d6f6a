"""What a model is and which one, told from its configuration and its files before it is loaded.

In: a model's name as a recipe writes it, or its configuration. Out: a `ModelFacts`, how much it
reads, whether it continues text, and a fingerprint of the bytes that decide what it says: what
stands on a model is known by this. Nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.models.finding import locate
from tutelage.models.folders import tensor_shapes, weight_files
from tutelage.models.headers import gguf_shapes
from tutelage.models.reading import read_config
from tutelage.models.registration import register
from tutelage.models.weights import (
    converted_folder,
    folder_sha256,
)
from tutelage.runs import fingerprint
from tutelage.runs.digests import file_sha256

_OUTSIDE_LAYERS = ("embed", "embd", "wte", "wpe", "lm_head", "score", "classifier")
"""Parts of the names of matrices that low-rank additions leave alone; in GGUF files also
`output.weight`."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Size and shape of a model."""

    parameters: int
    """Number of weights; 0 for a hub model, whose weights are not looked at."""
    disk_bytes: int
    """Size of its weight files here; 0 for a hub model."""
    needs_conversion: bool
    """True for a GGUF file whose float32 copy has not been made."""
    layers: int | None = None
    """Number of layers; None where the configuration does not say."""
    embedding_width: int | None = None
    """Values of a token's input embedding; None where the configuration does not say."""
    vocabulary: int | None = None
    """Tokens that it has embeddings for; None where the configuration does not say."""
    context: int | None = None
    """The most tokens that it reads; None where it names no end."""
    matrix_sides: int = 0
    """Rows plus columns of all matrices in the layers: low-rank additions of rank r have r times as
    many weights."""
    read_layers: int | None = None
    """How many of the layers make an answer, where that is known not to be all of them."""
    config: Any = field(default=None, repr=False, compare=False)
    """Its configuration, as transformers has it."""


def model_facts(spec: str, *, trust_remote_code: bool = False) -> ModelFacts:
    """Size and shape of a model, from its configuration and the headers of its weight files.

    Args:
        spec: As for `load_language_model`.
        trust_remote_code: Run configuration code that comes with the model. Off unless asked for by
            name.

    Returns:
        What is known; of a hub model only its configuration is asked for.

    Raises:
        ModelError: The model is not there, its files are damaged, or transformers does not know its
            kind.
    """
    source = locate(spec)
    files: list[Path] = []
    needs_conversion = False
    shapes: Mapping[str, Sequence[int]] = {}
    if source is not None and source.is_file():
        files, needs_conversion = [source], not converted_folder(source).is_dir()
        shapes = gguf_shapes(source)
    elif source is not None:
        files, shapes = weight_files(source), tensor_shapes(source)
    whole = read_config(spec, trust_remote_code=trust_remote_code)
    config = whole.get_text_config()
    return ModelFacts(
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        disk_bytes=sum(path.stat().st_size for path in files),
        needs_conversion=needs_conversion,
        layers=getattr(config, "num_hidden_layers", None),
        embedding_width=_embedding_width(config),
        vocabulary=getattr(config, "vocab_size", None),
        context=context_tokens(whole),
        matrix_sides=_matrix_sides(shapes),
        config=whole,
    )


COUNT_FROM_PADDING = {
    "altclip_text_model",
    "bridgetower_text_model",
    "camembert",
    "data2vec-text",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
"""Kinds of models whose table of positions has rows that no token uses, up to the padding id."""


def context_tokens(config: Any) -> int | None:
    """The most tokens that a model reads and writes together.

    Args:
        config: Of transformers.

    Returns:
        None where its configuration names no end, as for recurrent models. RoBERTa and its kin
        count positions from behind the padding id, so of 514 they read 512.
    """
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None and getattr(text, "model_type", None) in COUNT_FROM_PADDING:
        padding = text.pad_token_id if text.pad_token_id is not None else 1
        return max(1, positions - padding - 1)
    return positions if positions is None or positions > 0 else None


def continues_text(config: Any) -> bool:
    """True for a causal language model: one that predicts a text token by token, from left to
    right.

    Encoders read both ways, and models that decode what an encoder read do not continue it. Of a
    model that brings code of its own, that code says what it can do.

    Args:
        config: Of transformers.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    register()
    for one in (config, config.get_text_config()):  # of a model that sees, either may be known
        if "AutoModelForCausalLM" in (getattr(one, "auto_map", None) or {}):
            return True
        decodes = getattr(one, "is_decoder", False) or getattr(one, "causal", False)
        both_ways = type(one) in MODEL_FOR_MASKED_LM_MAPPING and not decodes
        encodes = getattr(one, "is_encoder_decoder", False)
        if type(one) in MODEL_FOR_CAUSAL_LM_MAPPING and not both_ways and not encodes:
            return True
    return False


def _embedding_width(config: Any) -> int | None:
    """Some models widen their embeddings after the lookup and name both widths."""
    narrow = getattr(config, "embedding_size", None) or getattr(config, "word_embed_proj_dim", None)
    return narrow or getattr(config, "hidden_size", None)


def _matrix_sides(shapes: Mapping[str, Sequence[int]]) -> int:
    inside = [
        shape
        for name, shape in shapes.items()
        if len(shape) == 2
        and name != "output.weight"
        and not any(part in name for part in _OUTSIDE_LAYERS)
    ]
    return sum(map(sum, inside))


_TEMPLATE_FILES = ("chat_template*", "tokenizer_config.json", "additional_chat_templates/*")


def model_fingerprint(spec: str, *, trust_remote_code: bool = False) -> str:
    """The fingerprint that `load_language_model` gives to a model, without loading its weights.

    A local model is named by the content of its files, a hub model by its name and the commit in
    the hub's cache.

    Args:
        spec: As for `load_language_model`.
        trust_remote_code: As for `load_language_model`; some hub models cannot even be described
            without their code.

    Raises:
        ModelError: The model is not there.
    """
    source = locate(spec)
    if source is None:
        config = read_config(spec, trust_remote_code=trust_remote_code)
        return fingerprint("language model", f"hub:{spec}@{getattr(config, '_commit_hash', None)}")
    return fingerprint(
        "language model", file_sha256(source) if source.is_file() else folder_sha256(source)
    )


def writes_the_date(spec: str) -> bool:
    """Whether a chat template of this model may write today's date into what it renders.

    Told from the files alone, so it may say True where the template lets the date be given; so it
    does of a hub model, whose files are not looked for.

    Args:
        spec: As for `load_language_model`.

    Raises:
        ModelError: The model is not there.
    """
    source = locate(spec)
    if source is None:
        return True
    folder = converted_folder(source) if source.is_file() else source
    return any(
        b"strftime_now" in path.read_bytes()
        for pattern in _TEMPLATE_FILES
        for path in folder.glob(pattern)
        if path.is_file()
    )
