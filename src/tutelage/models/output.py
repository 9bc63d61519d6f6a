"""What makes logits of the final states of a causal language model, and who is asked for it.

In: a model. Out: its output matrix with the scale and the soft cap that some models put on their
logits. All logits of whole models are made here; the losses make theirs chunk by chunk by the same
formula (`losses.linear_logits` is its plain form).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.losses import linear_logits

_NORMALISER_ELEMENTS = 2**24  # logits held at once while normalising: 64 MB in float32


@dataclass(frozen=True, eq=False)
class OutputLayer:
    """Final state -> logits: scale * (states @ weight.T + bias), then cap * tanh(logits / cap)."""

    weight: Tensor
    """The output matrix [V, H]."""
    bias: Tensor | None = None
    """Its bias [V], which few models have."""
    scale: float = 1.0
    """Logits are multiplied by this (Cohere multiplies, Granite divides)."""
    cap: float | None = None
    """The soft cap (Gemma 2); None: there is none."""

    def to(self, device: torch.device) -> OutputLayer:
        """The same there."""
        bias = None if self.bias is None else self.bias.to(device)
        return replace(self, weight=self.weight.to(device), bias=bias)

    def detach(self) -> OutputLayer:
        """The same without a way for gradients."""
        bias = None if self.bias is None else self.bias.detach()
        return replace(self, weight=self.weight.detach(), bias=bias)

    def logits(self, states: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits of some tokens, or of all of them.

        Args:
            states: Final states, [..., H], in any precision; the product is in that of the matrix,
                or in float32 where only some tokens are asked for.
            tokens: Token ids [K]; None means the whole vocabulary.

        Returns:
            float32 [..., K or V] (float64 stays).
        """
        weight, bias = self.weight, self.bias
        if tokens is not None:
            weight = weight[tokens].float()
            bias = None if bias is None else bias[tokens]
        return linear_logits(states, weight, bias=bias, logit_scale=self.scale, soft_cap=self.cap)

    def log_normaliser(self, states: Tensor) -> Tensor:
        """Log of the sum of exponentiated logits over the vocabulary, in nats, [...] for states
        [..., H].
        """
        flat_BH = states.reshape(-1, states.shape[-1])
        rows = max(1, _NORMALISER_ELEMENTS // self.weight.shape[0])
        parts = [torch.logsumexp(self.logits(part), dim=-1) for part in flat_BH.split(rows)]
        if not parts:
            return states.new_zeros(states.shape[:-1]).float()
        return torch.cat(parts).reshape(states.shape[:-1])

    def check(
        self, states: Tensor, logits: Tensor, *, tolerance: float, name: str, advice: str
    ) -> None:
        """Make sure that a model computes its logits as this layer does.

        Args:
            states: Its final states, [..., H].
            logits: What it makes of them, [..., V].
            tolerance: Largest difference; raised to two of the last bits of the largest logit where
                the matrix is not float32.
            name: The model, for the message.
            advice: What to do otherwise, for the message.

        Raises:
            ModelError: It does something else with them, so scores would be those of another model.
        """
        how = "not known here"
        if states.shape[-1] == self.weight.shape[1]:
            difference = float((self.logits(states) - logits.float()).abs().max())
            if self.weight.dtype != torch.float32:
                tolerance = max(tolerance, 2.0**-6 * float(logits.abs().max()))
            if difference <= tolerance:
                return
            how += (
                f" (they differ by {difference:.3g} from final state times output matrix, scaled "
                "and soft-capped)"
            )
        raise ModelError(f"{name} computes its logits in a way that is {how}: {advice}")


@runtime_checkable
class TellsStates(Protocol):
    """A model that reads one document a row and tells its final states itself: ours, which are
    recurrent or asked in the ids of another vocabulary.
    """

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """What the output layer multiplies at every token, [B, T, H]."""
        ...

    def output_layer(self) -> OutputLayer:
        """How these states become logits."""
        ...


@runtime_checkable
class Adapted(Protocol):
    """A model that PEFT has wrapped."""

    def get_base_model(self) -> Any:
        """The model of transformers, adapters in its layers."""
        ...


def below_adapters(model: Any) -> Any:
    """The transformers model itself, without what PEFT has wrapped around it."""
    return model.get_base_model() if isinstance(model, Adapted) else model


def output_layer(model: Any) -> OutputLayer:
    """How a model makes logits of its final states.

    Args:
        model: A causal language model: of transformers, one with adapters, or one of ours.

    Returns:
        The matrix itself, not a copy, so that gradients reach it.

    Raises:
        ModelError: The model has no output matrix.
    """
    model = below_adapters(model)
    if isinstance(model, TellsStates):
        return model.output_layer()
    layer = model.get_output_embeddings()
    if layer is None or not hasattr(layer, "weight"):
        raise ModelError(
            f"{type(model).__name__} has no output matrix: give a causal language model"
        )
    config = model.config.get_text_config()
    scale = (getattr(config, "logit_scale", None) or 1.0) / (
        getattr(config, "logits_scaling", None) or 1.0
    )
    cap = getattr(config, "final_logit_softcapping", None)
    return OutputLayer(layer.weight, getattr(layer, "bias", None), float(scale), cap)
