"""The output layer: one formula, in whole, in part, and normalised."""

from __future__ import annotations

import pytest
import torch
from tests.students.tiny_causal_models import MODELS, built

from tutelage.errors import ModelError
from tutelage.models.output import OutputLayer, TellsStates, below_adapters, output_layer
from tutelage.students import add_lora

STATES = torch.linspace(-2, 2, 15, dtype=torch.float64).view(1, 5, 3)
WEIGHT = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3).sin()
BIAS = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64)
LAYERS = [
    OutputLayer(WEIGHT),
    OutputLayer(WEIGHT, BIAS),
    OutputLayer(WEIGHT, BIAS, scale=0.25),
    OutputLayer(WEIGHT, BIAS, scale=2.0, cap=1.5),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_logits_are_those_of_the_formula(layer):
    expected = STATES @ WEIGHT.T
    if layer.bias is not None:
        expected = expected + BIAS
    expected = expected * layer.scale
    if layer.cap is not None:
        expected = layer.cap * torch.tanh(expected / layer.cap)
    torch.testing.assert_close(layer.logits(STATES), expected)
    some = layer.logits(STATES, torch.tensor([3, 1]))
    assert torch.allclose(some.double(), expected[..., [3, 1]], atol=1e-6)
    torch.testing.assert_close(layer.log_normaliser(STATES), expected.logsumexp(-1))
    assert layer.log_normaliser(STATES[:, :0]).shape == (1, 0)


def test_a_model_that_does_something_else_is_refused():
    layer = OutputLayer(WEIGHT.float())
    logits = layer.logits(STATES)
    layer.check(STATES, logits + 1e-3, tolerance=1e-2, name="it", advice="leave it")
    with pytest.raises(ModelError, match=r"it computes its logits .* differ by 0\.1 .*: leave it"):
        layer.check(STATES, logits + 0.1, tolerance=1e-2, name="it", advice="leave it")
    with pytest.raises(ModelError, match="in a way that is not known here: leave it"):
        layer.check(STATES[..., :2], logits, tolerance=1e-2, name="it", advice="leave it")


def test_who_tells_states_is_asked_and_nobody_else():
    class Own:
        def hidden_states(self, input_ids):
            return input_ids

        def output_layer(self):
            return LAYERS[0]

    assert isinstance(Own(), TellsStates)
    assert output_layer(Own()) is LAYERS[0]
    model = built(*MODELS["llama sdpa"])
    assert not isinstance(model, TellsStates)
    assert below_adapters(model) is model
    assert below_adapters(add_lora(model, rank=2)) is model
