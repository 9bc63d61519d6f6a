"""The matrix products of the chunked loss: logits of a chunk, and what its gradient adds to states
and matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class OutputRule:
    """How logits are made of states times matrix."""

    vocabulary: int
    """Rows of the matrix that count."""
    scale: float
    """Logits are multiplied by this."""
    cap: float | None
    """Logits become cap * tanh(logits / cap)."""


class Products:
    """The products of one call, over memory that is taken once and used for every chunk.

    For every chunk `multiply`; then for every block of its positions `logits` and, if gradients are
    wanted, `put`; then `add`. A block is a few rows of what `multiply` returned.

    Args:
        hidden: States, [P, H].
        weight: Output matrix, [V, H].
        bias: Its bias, [V], or None.
        output: What is done to the product.
        chunk: Positions at once.
        product_type: What products are computed in.
        needed: Which of states, matrix and bias want a gradient; None: nothing does.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        output: OutputRule,
        chunk: int,
        product_type: torch.dtype,
        *,
        needed: tuple[bool, ...] | None,
    ) -> None:
        device = hidden.device
        self.dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self._output = output
        self._hidden = hidden.to(product_type)
        self._weight = weight[: output.vocabulary].to(product_type)
        self._bias = None if bias is None else bias[: output.vocabulary].to(self.dtype)
        self._exact = product_type == self.dtype
        rows = min(chunk, len(hidden))
        self._chunk = torch.empty(rows, output.vocabulary, dtype=product_type, device=device)
        self._cap_slope: Tensor | None = None
        want_hidden, want_weight, want_bias = needed or (False, False, False)
        self._of_hidden = (
            torch.empty(hidden.shape, dtype=self.dtype, device=device) if want_hidden else None
        )
        self._of_weight = (
            torch.empty(weight.shape, dtype=self.dtype, device=device) if want_weight else None
        )
        self._written = 0
        """Rows of the matrix gradient that hold something: nothing before the first chunk."""
        self._of_bias = (
            torch.zeros(bias.shape, dtype=self.dtype, device=device)
            if want_bias and bias is not None
            else None
        )
        self._types = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)

    def multiply(self, rows: slice) -> Tensor:
        """States times matrix for a chunk, [C, V], in memory that the next chunk takes over."""
        states = self._hidden[rows]
        return torch.mm(states, self._weight.T, out=self._chunk[: len(states)])

    def logits(self, block: Tensor) -> Tensor:
        """Logits of a block, in float32 (float64 stays), in its own memory where the types are the
        same.
        """
        logits = block.to(self.dtype)
        if self._bias is not None:
            logits += self._bias
        if self._output.scale != 1.0:
            logits *= self._output.scale
        if self._output.cap is not None:
            logits.div_(self._output.cap).tanh_()
            self._cap_slope = 1 - logits.square()  # of the cap, at these logits
            logits *= self._output.cap
        return logits

    def put(self, block: Tensor, slope: Tensor) -> None:
        """Write the gradient by the logits made last over the block they were made of."""
        if self._cap_slope is not None:
            slope *= self._cap_slope
        if self._output.scale != 1.0:
            slope *= self._output.scale
        if self._of_bias is not None:
            self._of_bias[: self._output.vocabulary] += slope.sum(dim=0)
        if slope.data_ptr() != block.data_ptr():
            block.copy_(slope)

    def add(self, rows: slice, chunk: Tensor) -> None:
        """Take a chunk whose blocks were all put."""
        states = self._hidden[rows]
        if self._of_hidden is not None:
            if self._exact:
                torch.mm(chunk, self._weight, out=self._of_hidden[rows])
            else:
                self._of_hidden[rows] = torch.mm(chunk, self._weight)
        if self._of_weight is None:
            return
        of_weight = self._of_weight[: self._output.vocabulary]
        if not self._written:
            if self._exact:
                torch.mm(chunk.T, states, out=of_weight)
            else:
                of_weight.copy_(torch.mm(chunk.T, states))
            self._written = self._output.vocabulary
        elif self._exact:
            of_weight.addmm_(chunk.T, states)
        else:
            of_weight += torch.mm(chunk.T, states)

    def finish(self) -> list[Tensor | None]:
        """Gradients of states, matrix and bias in their own types; None where none was wanted."""
        if self._of_weight is not None:
            self._of_weight[self._written :].zero_()
        found = (self._of_hidden, self._of_weight, self._of_bias)
        return [
            None if gradient is None or dtype is None else gradient.to(dtype)
            for gradient, dtype in zip(found, self._types, strict=True)
        ]
