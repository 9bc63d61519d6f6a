"""The output matrix of a causal language model, used a few rows at a time.

In: final hidden states. Out: logits of chosen tokens, or the log-normaliser over the whole
vocabulary, in float32, with the scale and the soft cap that some models put on their logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ModelError

_NORMALISER_ELEMENTS = 2**24  # logits held at once while normalising: 64 MB in float32


@dataclass(frozen=True)
class OutputHead:
    """Final hidden state -> logits."""

    weight: Tensor
    """The output matrix."""
    bias: Tensor | None
    """Its bias, which few models have."""
    scale: float
    """Logits are multiplied by this (Cohere multiplies, Granite divides)."""
    cap: float | None
    """Logits become cap * tanh(logits / cap) (Gemma 2)."""

    @classmethod
    def of(cls, model: Any) -> OutputHead:
        """The head of a transformers causal language model.

        Raises:
            ModelError: The model has no output matrix.
        """
        layer = model.get_output_embeddings()
        if layer is None or not hasattr(layer, "weight"):
            raise ModelError(
                f"{type(model).__name__} has no output matrix; a prompted teacher needs a causal "
                "language model"
            )
        config = model.config.get_text_config()
        scale = getattr(config, "logit_scale", None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        cap = getattr(config, "final_logit_softcapping", None)
        return cls(layer.weight, getattr(layer, "bias", None), float(scale), cap)

    def logits(self, hidden: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits of some tokens, or of all of them.

        Args:
            hidden: Final hidden states, [..., H], in any precision; the product is in that of the
                matrix, or in float32 where only some tokens are asked for.
            tokens: Token ids [K]; None means the whole vocabulary.

        Returns:
            float32 [..., K or V].
        """
        weight, bias = self.weight, self.bias
        if tokens is not None:
            weight = weight[tokens].float()
            bias = bias[tokens] if bias is not None else None
        logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight).float()
        if bias is not None:
            logits = logits + bias.float()
        if self.scale != 1.0:
            logits = logits * self.scale
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits

    def log_normaliser(self, hidden: Tensor) -> Tensor:
        """Log of the sum of exponentiated logits over the vocabulary, in nats, [...] for hidden
        [..., H].
        """
        flat_BH = hidden.reshape(-1, hidden.shape[-1])
        rows = max(1, _NORMALISER_ELEMENTS // self.weight.shape[0])
        parts = [torch.logsumexp(self.logits(part), dim=-1) for part in flat_BH.split(rows)]
        return (
            torch.cat(parts).reshape(hidden.shape[:-1])
            if parts
            else hidden.new_zeros(hidden.shape[:-1]).float()
        )

    def check(self, hidden: Tensor, logits: Tensor, *, tolerance: float) -> None:
        """Make sure that the model computes its logits as this head does.

        Raises:
            ModelError: It does something else with them, so scores would be wrong.
        """
        difference = float((self.logits(hidden) - logits.float()).abs().max())
        if self.weight.dtype != torch.float32:  # two of the last bits of the largest logit
            tolerance = max(tolerance, 2.0**-6 * float(logits.abs().max()))
        if not difference <= tolerance:
            raise ModelError(
                "this model computes its logits in a way that is not known here (they differ by "
                f"{difference:.3g} from "
                "hidden state times output matrix, scaled and soft-capped); use kind: classifier "
                "with it"
            )
