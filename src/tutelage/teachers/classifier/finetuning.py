"""Fitting a language model with a classification head to labelled texts: LoRA adapters or every
weight.

In: a sequence-classification model, texts, labels. Out: the same model with fitted weights, and its
log-probabilities for other texts. A short plain loop: AdamW, warm-up, linear decay, clipped
gradients. Weights are float32 while they are trained, whatever the precision that the model labels
in.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import ModelError, TrainingDiverged
from tutelage.models.computing import (
    length_batches,
    pad,
    readable_tokens,
    require_embeddings,
)
from tutelage.models.loading import LanguageModel
from tutelage.models.reading import padding_id
from tutelage.types import SILENT, Progress, same_name

_WARMUP_SHARE = 0.06
_CLIP_NORM = 1.0
_WEIGHT_DECAY = 0.01
_SORTED_BATCHES = 16
"""Batches whose texts are sorted by length among themselves: padded texts of 5 to 40 tokens cost
twice as much."""


def with_lora(model: Any, *, rank: int, adapters: Sequence[str]) -> Any:
    """Wrap a sequence-classification model with one fresh LoRA adapter (and classification head)
    per name.

    Args:
        model: The model; its own weights are frozen.
        rank: Rank of the updates; their scale is 2.
        adapters: Names; the first is the one in force.

    Returns:
        A PEFT model.

    Source: Hu et al. 2021 (arXiv:2106.09685); on every linear layer, as Dettmers et al. 2023
        (arXiv:2305.14314) advise.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules="all-linear",
    )
    first, *others = adapters
    with quiet_peft():
        wrapped = get_peft_model(model, config, adapter_name=first)
    for name in others:
        wrapped.add_adapter(name, config)
    return wrapped


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Pass over the warning that PEFT reads a property which transformers has renamed; nobody here
    can act on it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning
        )
        yield


def fine_tune(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int = 16,
    max_length: int = 512,
    seed: int = 0,
    title: str = "Fitting the teacher",
    progress: Progress = SILENT,
) -> list[float]:
    """Fit the trainable weights of a model to labelled texts, in place.

    Weights of lower precision are raised to float32 for the fit and rounded back after it. Frozen
    ones (below adapters) stay as they are, and the products with them are of their precision.

    Args:
        model: A sequence-classification model (or its PEFT wrapping); left in evaluation mode.
        tokenizer: Its tokenizer.
        texts: N texts.
        labels: Their class indices.
        epochs: Passes over the texts.
        learning_rate: At its highest, after the warm-up.
        batch_size: Texts per step.
        max_length: Tokens of a text that are read; no more than the model has positions for.
        seed: For order and dropout; the process's own random state is left as it was.
        title: Of the bar.
        progress: Where the bar goes.

    Returns:
        Mean cross-entropy of each step, in nats.

    Raises:
        ModelError: Nothing to fit to.
        TrainingDiverged: The loss is not a number.
    """
    if not len(texts):
        raise ModelError(
            "no labelled rows were given, so there is nothing to fit the teacher to; label some "
            "rows"
        )
    device = next(model.parameters()).device
    longest = readable_tokens(model, max_length)
    encoded = tokenizer(
        list(texts), truncation=True, max_length=longest, split_special_tokens=True
    )["input_ids"]
    vocabulary = model.get_input_embeddings().weight.shape[0]
    require_embeddings(encoded, vocabulary, tokenizer=tokenizer, name=type(model).__name__)
    pad_id = padding_id(tokenizer, vocabulary)
    labels_N = torch.tensor(list(labels), device=device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=learning_rate, weight_decay=_WEIGHT_DECAY, fused=True
    )
    steps = epochs * -(-len(texts) // batch_size)
    warmup = max(1, round(_WARMUP_SHARE * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup))),
    )
    rng = np.random.default_rng(seed)
    losses: list[float] = []
    mixed = any(
        parameter.dtype == torch.bfloat16
        for parameter in model.parameters()
        if not parameter.requires_grad
    )
    with (
        in_float32(trainable),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        progress.bar(title, total=steps, unit="steps") as advance,
    ):
        torch.manual_seed(seed)
        model.train()
        for _ in range(epochs):
            for batch in _batches(list(map(len, encoded)), batch_size, rng):
                inputs = _inputs([encoded[i] for i in batch], pad_id, device=device)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                    logits_BC = model(**inputs).logits.float()
                loss = torch.nn.functional.cross_entropy(
                    logits_BC, labels_N[torch.from_numpy(batch).to(device)]
                )
                if not torch.isfinite(loss):
                    raise TrainingDiverged(
                        f"the teacher's loss became {float(loss)} at step {len(losses) + 1}; lower "
                        "the learning rate"
                    )
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trainable, _CLIP_NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                losses.append(float(loss.detach()))
                advance(1)
    model.eval()
    return losses


def _batches(lengths: Sequence[int], batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every text once, in random batches of texts about as long, so that little is padding."""
    order = rng.permutation(len(lengths))
    window, sizes = _SORTED_BATCHES * batch_size, np.asarray(lengths)
    batches: list[np.ndarray] = []
    for start in range(0, len(order), window):
        alike = order[start : start + window]
        alike = alike[np.argsort(sizes[alike], kind="stable")]
        batches += [alike[at : at + batch_size] for at in range(0, len(alike), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


@contextmanager
def in_float32(weights: Sequence[Tensor]) -> Iterator[None]:
    """Hold weights in float32 inside; afterwards each is of its own type again, rounded to it.

    A bfloat16 number has 8 binary digits: of a step below about 1/512 of a weight, which is what a
    learning rate of 2e-5 makes of most, nothing is left.
    """
    types = [weight.dtype for weight in weights]
    for weight in weights:
        weight.data = weight.data.float()
    try:
        yield
    finally:
        for weight, dtype in zip(weights, types, strict=True):
            weight.data = weight.data.to(dtype)


@torch.inference_mode()
def sequence_logprobs(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    batch_tokens: int = 4096,
    max_length: int = 512,
) -> np.ndarray:
    """Class log-probabilities of texts from a sequence-classification model, float64 [N, C], in
    nats.

    Sorted by length and cut into batches of at most `batch_tokens` tokens; the order of the texts
    changes nothing.
    """
    if not len(texts):
        return np.zeros((0, int(model.config.num_labels)))
    device = next(model.parameters()).device
    longest = readable_tokens(model, max_length)
    encoded = tokenizer(
        list(texts), truncation=True, max_length=longest, split_special_tokens=True
    )["input_ids"]
    vocabulary = model.get_input_embeddings().weight.shape[0]
    require_embeddings(encoded, vocabulary, tokenizer=tokenizer, name=type(model).__name__)
    pad_id = padding_id(tokenizer, vocabulary)
    logprobs_NC = np.zeros((len(encoded), int(model.config.num_labels)))
    for batch in length_batches(
        [len(ids) for ids in encoded], batch_tokens=batch_tokens, device=device
    ):
        inputs = _inputs([encoded[i] for i in batch], pad_id, device=device)
        logprobs_NC[batch] = (
            torch.log_softmax(model(**inputs).logits.double(), dim=-1).cpu().numpy()
        )
    return logprobs_NC


def _inputs(
    rows: Sequence[Sequence[int]], pad_id: int, *, device: torch.device
) -> dict[str, Tensor]:
    """Token ids padded on the right, and the mask of real tokens."""
    ids_BT, lengths_B = pad(rows, pad_id, device=device)
    mask_BT = torch.arange(ids_BT.shape[1], device=device) < lengths_B[:, None]
    return {"input_ids": ids_BT, "attention_mask": mask_BT.long()}


def require_sequence_head(language_model: LanguageModel, labels: Sequence[str]) -> None:
    """Refuse a model that was loaded without a classification head of so many outputs.

    Raises:
        ModelError: It was.
    """
    outputs = getattr(language_model.model.config, "num_labels", 0)
    if not type(language_model.model).__name__.endswith(
        "ForSequenceClassification"
    ) or outputs != len(labels):
        raise ModelError(
            f"{language_model.name} was loaded as {type(language_model.model).__name__} with "
            f"{outputs} outputs; "
            f"expected a sequence-classification head with {len(labels)}: "
            'load_language_model(..., head="sequence", labels=labels)'
        )


def output_columns(language_model: LanguageModel, labels: Sequence[str]) -> list[int]:
    """Which output of a fitted classifier belongs to each label.

    Raises:
        ModelError: It has no head, or classifies into others.
    """
    require_sequence_head(language_model, labels)
    named = {
        same_name(str(name)): int(index)
        for index, name in language_model.model.config.id2label.items()
    }
    if set(named) != set(map(same_name, labels)):
        raise ModelError(
            f"{language_model.name} classifies as {sorted(named)}, but the labels here are "
            f"{list(labels)}; name "
            "the task's labels as the model does, or correct id2label in its config.json"
        )
    return [named[same_name(label)] for label in labels]
