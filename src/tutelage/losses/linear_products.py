"""The matrix products of the chunked loss: logits of a chunk, and what its gradient adds to states and matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Head:
    """How logits are made of states times matrix."""

    vocabulary: int
    """Rows of the matrix that count."""
    scale: float
    """Logits are multiplied by this."""
    cap: float | None
    """Logits become cap * tanh(logits / cap)."""


class Products:
    """The products of one call, over memory that is taken once and used for every chunk.

    Args:
        hidden: States, [P, H].
        weight: Output matrix, [V, H].
        bias: Its bias, [V], or None.
        head: What is done to the product.
        chunk: Positions at once.
        product_type: What products are computed in.
        needed: Which of states, matrix and bias want a gradient; None: nothing does.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        chunk: int,
        product_type: torch.dtype,
        *,
        needed: tuple[bool, ...] | None,
    ) -> None:
        device = hidden.device
        self.dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self._head = head
        self._hidden = hidden.to(product_type)
        self._weight = weight[: head.vocabulary].to(product_type)
        self._bias = None if bias is None else bias[: head.vocabulary].to(self.dtype)
        self._exact = product_type == self.dtype
        rows = min(chunk, len(hidden))
        self._logits = torch.empty(rows, head.vocabulary, dtype=self.dtype, device=device) if self._exact else None
        self._slope: Tensor | None = None
        want_hidden, want_weight, want_bias = needed or (False, False, False)
        self._of_hidden = torch.empty(hidden.shape, dtype=self.dtype, device=device) if want_hidden else None
        self._of_weight = torch.zeros(weight.shape, dtype=self.dtype, device=device) if want_weight else None
        self._of_bias = (
            torch.zeros(bias.shape, dtype=self.dtype, device=device) if want_bias and bias is not None else None
        )
        self._types = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)

    def logits(self, rows: slice) -> Tensor:
        """Logits of a chunk, [C, V], in memory that the next chunk takes over."""
        states = self._hidden[rows]
        if self._logits is not None:
            logits = torch.mm(states, self._weight.T, out=self._logits[: len(states)])
        else:
            logits = torch.mm(states, self._weight.T).to(self.dtype)
        if self._bias is not None:
            logits += self._bias
        if self._head.scale != 1.0:
            logits *= self._head.scale
        if self._head.cap is not None:
            logits.div_(self._head.cap).tanh_()
            self._slope = 1 - logits.square()  # of the cap, at these logits
            logits *= self._head.cap
        return logits

    def add(self, rows: slice, slope: Tensor) -> None:
        """Take the gradient with respect to the logits of the chunk made last, [C, V]; it is written over."""
        if self._slope is not None:
            slope *= self._slope
        if self._head.scale != 1.0:
            slope *= self._head.scale
        if self._of_bias is not None:
            self._of_bias[: self._head.vocabulary] += slope.sum(dim=0)
        slope = slope.to(self._weight.dtype)
        if self._of_hidden is not None:
            if self._exact:
                torch.mm(slope, self._weight, out=self._of_hidden[rows])
            else:
                self._of_hidden[rows] = torch.mm(slope, self._weight).to(self.dtype)
        if self._of_weight is not None:
            of_weight = self._of_weight[: self._head.vocabulary]
            if self._exact:
                of_weight.addmm_(slope.T, self._hidden[rows])
            else:
                of_weight += torch.mm(slope.T, self._hidden[rows])

    def finish(self) -> list[Tensor | None]:
        """Gradients of states, matrix and bias in their own types; None where none was wanted."""
        found = (self._of_hidden, self._of_weight, self._of_bias)
        return [
            None if gradient is None or dtype is None else gradient.to(dtype)
            for gradient, dtype in zip(found, self._types, strict=True)
        ]
