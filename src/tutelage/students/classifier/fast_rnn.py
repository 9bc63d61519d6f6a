"""The recurrent student's answer to one text, in numpy.

In: a trained classifier, then token ids. Out: its logits, equal to those of its `forward` up to
rounding. With one text the arithmetic of a step is a few microseconds, less than what a call
through modules costs. So here both directions take a step together, the gates of a step are one row
in memory, and the product of every token with the input weights is looked up. What is left of the
time is reading the recurrent weights once a step.

Arrays of a step are ordered (gate, unit, direction): each gate is one run of memory, and each
direction a stride of it, which is how `gemv` reads and writes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.linalg import get_blas_funcs

from tutelage.students.classifier.rnn import RecurrentForSequenceClassification

_gemv: Any = get_blas_funcs("gemv", dtype=np.float32)
LARGEST_TABLE_BYTES = 1 << 28
"""A larger table of input products is not made; they are computed for each text, which takes it
about 0.1 ms longer."""


class FastRecurrent:
    """Answers of a recurrent classifier for one text at a time; weights are copied, later changes
    are not seen.

    Args:
        model: On the CPU, in float32.
    """

    def __init__(self, model: RecurrentForSequenceClassification) -> None:
        config = model.config
        self._is_lstm = config.cell == "lstm"
        self._pooling, self._pad_token_id = config.pooling, config.pad_token_id
        self._layers = [_Layer(model, index) for index in range(config.layers)]
        self._embedding = _array(model.embedding.weight)
        first = self._layers[0]
        fits = len(self._embedding) * first.input_bias.nbytes <= LARGEST_TABLE_BYTES
        self._table = first.inputs(self._embedding) if fits else None
        self._scorer = (
            None
            if model.scorer is None
            else [_array(weight) for weight in model.scorer.parameters()]
        )
        self._classifier = _array(model.classifier.weight), _array(model.classifier.bias)

    def __call__(self, ids: list[int]) -> np.ndarray:
        """Logits of a text.

        Args:
            ids: Its token ids; none are read as one token of padding, as in the model.

        Returns:
            float32 [C].
        """
        ids = ids or [self._pad_token_id]
        first, *others = self._layers
        run = _run_lstm if self._is_lstm else _run_gru
        inputs_TG = first.inputs(self._embedding[ids]) if self._table is None else self._table[ids]
        states_TDH = run(first, inputs_TG)
        for layer in others:
            states_TDH = run(layer, layer.inputs(states_TDH.reshape(len(ids), -1)))
        weight, bias = self._classifier
        return weight @ self._pool(states_TDH) + bias

    def _pool(self, by_side: np.ndarray) -> np.ndarray:
        """One vector for the text, whose states are [T, D, H]."""
        states = by_side.reshape(len(by_side), -1)
        match self._pooling:
            case "mean":
                return states.mean(0)
            case "max":
                return states.max(0)
            case "mean_max":
                return np.concatenate([states.mean(0), states.max(0)])
            case "attention":
                assert self._scorer is not None
                hidden_weight, hidden_bias, weight, _ = (
                    self._scorer
                )  # the last bias shifts all scores alike
                return softmax(np.tanh(states @ hidden_weight.T + hidden_bias) @ weight[0]) @ states
            case "last":
                return np.concatenate([by_side[-1, 0], *by_side[0, 1:]])
            case other:
                raise AssertionError(other)


class _Layer:
    """Weights of one recurrent layer, ordered (gate, unit, direction).

    A unit of either cell has four inputs. LSTM: input, forget and output gate, candidate. GRU:
    reset and update gate, the candidate's part that is reset (of the inputs only its bias), the
    rest of the candidate.
    """

    def __init__(self, model: RecurrentForSequenceClassification, index: int) -> None:
        size, is_lstm = model.config.hidden_size, model.config.cell == "lstm"
        input_weights, input_biases, self.recurrent = [], [], []
        for suffix in ("", "_reverse")[: model.directions]:
            w_ih, w_hh, b_ih, b_hh = (
                np.stack(
                    np.split(
                        _array(getattr(model.recurrent, f"{name}_l{index}{suffix}")),
                        4 if is_lstm else 3,
                    )
                )
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            if is_lstm:
                order = [0, 1, 3, 2]  # PyTorch: input, forget, candidate, output
                w_ih, w_hh, bias = w_ih[order], w_hh[order], (b_ih + b_hh)[order]
            else:
                w_ih = np.stack([w_ih[0], w_ih[1], np.zeros_like(w_ih[2]), w_ih[2]])
                bias = np.stack([b_ih[0] + b_hh[0], b_ih[1] + b_hh[1], b_hh[2], b_ih[2]])
            input_weights.append(w_ih)
            input_biases.append(bias)
            self.recurrent.append(np.asfortranarray(w_hh.reshape(-1, size)))
        stacked = np.stack(input_weights, axis=2)  # [4, H, D, E]
        self.input_weight = np.ascontiguousarray(stacked.reshape(-1, stacked.shape[-1]).T)
        self.input_bias = np.stack(input_biases, axis=2).reshape(-1)
        self.size = size

    def inputs(self, vectors: np.ndarray) -> np.ndarray:
        """What each of the vectors [T, E] adds to the gates of each direction, [T, 4HD]."""
        return vectors @ self.input_weight + self.input_bias

    def in_reading_order(self, inputs: np.ndarray) -> np.ndarray:
        """Row t has the t-th token that each direction meets; changes the array given."""
        if len(self.recurrent) == 2:
            inputs[:, 1::2] = inputs[::-1, 1::2].copy()
        return inputs

    def in_text_order(self, states: np.ndarray) -> np.ndarray:
        """States [T, HD] in reading order as [T, D, H] in the order of the text."""
        by_unit = states.reshape(len(states), self.size, -1)
        return np.stack(
            [by_unit[:, :, 0], *(by_unit[::-1, :, side] for side in range(1, by_unit.shape[2]))],
            axis=1,
        )

    def add_recurrent(self, state: np.ndarray, gates: np.ndarray) -> None:
        """Add the product of the previous state with the recurrent weights to the gates, in
        place.
        """
        sides = len(self.recurrent)
        for side, weight in enumerate(self.recurrent):
            _gemv(1.0, weight, state, 1.0, gates, side, sides, side, sides, 0, 1)


def _run_lstm(layer: _Layer, inputs: np.ndarray) -> np.ndarray:
    """States [T, D, H] from inputs [T, 4HD], which are overwritten."""
    gates = layer.in_reading_order(inputs)
    width = gates.shape[1] // 4
    states = np.empty((len(gates), width), np.float32)
    candidate_and_cell, products = np.zeros(2 * width, np.float32), np.empty(2 * width, np.float32)
    new_candidate, cell = candidate_and_cell[:width], candidate_and_cell[width:]
    written, kept = products[:width], products[width:]
    squashed = np.empty(width, np.float32)
    previous = None
    steps = zip(
        gates,
        torch.from_numpy(gates[:, : 3 * width]),
        gates[:, : 2 * width],
        gates[:, 2 * width : 3 * width],
        gates[:, 3 * width :],
        states,
        strict=True,
    )
    for row, sigmoids, input_and_forget, output, candidate, state in steps:
        if previous is not None:
            layer.add_recurrent(previous, row)
        sigmoids.sigmoid_()
        np.tanh(candidate, out=new_candidate)
        np.multiply(input_and_forget, candidate_and_cell, out=products)
        np.add(written, kept, out=cell)
        np.tanh(cell, out=squashed)
        np.multiply(output, squashed, out=state)
        previous = state
    return layer.in_text_order(states)


def _run_gru(layer: _Layer, inputs: np.ndarray) -> np.ndarray:
    """States [T, D, H] from inputs [T, 4HD], which are overwritten."""
    gates = layer.in_reading_order(inputs)
    width = gates.shape[1] // 4
    states = np.empty((len(gates), width), np.float32)
    previous = np.zeros(width, np.float32)
    steps = zip(
        gates[:, : 3 * width],
        torch.from_numpy(gates[:, : 2 * width]),
        gates[:, :width],
        gates[:, width : 2 * width],
        gates[:, 2 * width : 3 * width],
        gates[:, 3 * width :],
        states,
        strict=True,
    )
    for row, sigmoids, reset, update, inside, candidate, state in steps:
        layer.add_recurrent(previous, row)
        sigmoids.sigmoid_()
        np.multiply(reset, inside, out=inside)
        np.add(candidate, inside, out=candidate)
        np.tanh(candidate, out=candidate)
        np.subtract(previous, candidate, out=state)
        np.multiply(update, state, out=state)
        np.add(candidate, state, out=state)
        previous = state
    return layer.in_text_order(states)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, in the type of the logits."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _array(weight: Any) -> np.ndarray:
    return weight.detach().numpy().copy()
