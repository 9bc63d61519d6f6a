import itertools

import numpy as np
import pytest
import torch

from tutelage.students.classifier import fast_rnn
from tutelage.students.classifier.fast_rnn import FastRecurrent
from tutelage.students.classifier.rnn import RecurrentForSequenceClassification
from tutelage.students.configurations import RecurrentConfig

SHAPES = list(
    itertools.product(
        ("gru", "lstm"), ("mean", "max", "mean_max", "attention", "last"), (False, True), (1, 2)
    )
)


def model_of(cell, pooling, both, layers, *, spread=0.3):
    """Every weight and bias random, so that none can be forgotten."""
    config = RecurrentConfig(
        vocabulary_size=30,
        embedding_size=6,
        hidden_size=5,
        num_labels=3,
        cell=cell,
        pooling=pooling,
        bidirectional=both,
        layers=layers,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = RecurrentForSequenceClassification(config).eval()
        for weight in model.parameters():
            weight += spread * torch.randn_like(weight)
    return model


def rows_of(lengths):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 30, length).tolist() for length in lengths]


def expected(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids], dtype=torch.long)).logits[0].numpy()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("table", [True, False])
def test_logits_are_those_of_the_model(shape, table, monkeypatch):
    if not table:
        monkeypatch.setattr(fast_rnn, "LARGEST_TABLE_BYTES", 0)
    model = model_of(*shape)
    fast = FastRecurrent(model)
    assert (fast._table is not None) == table
    found = np.stack([fast(ids) for ids in rows_of([0, 1, 2, 3, 17, 200])])
    np.testing.assert_allclose(
        found, [expected(model, ids) for ids in rows_of([0, 1, 2, 3, 17, 200])], atol=1e-5
    )
    assert len(np.unique(found.round(4), axis=0)) > 4


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_length_is_as_in_the_model(cell):
    model = model_of(cell, "mean_max", True, 1)
    fast = FastRecurrent(model)
    for ids in rows_of(range(1, 60)):
        np.testing.assert_allclose(fast(ids), expected(model, ids), atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_an_answer_leaves_nothing_behind(cell):
    fast = FastRecurrent(model_of(cell, "mean_max", True, 2))
    rows = rows_of([7, 3, 12])
    first = [fast(ids) for ids in rows]
    np.testing.assert_array_equal([fast(ids) for ids in rows[::-1]], first[::-1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_saturated_gates_are_no_problem(cell):
    model = model_of(cell, "mean_max", True, 1, spread=60.0)
    fast = FastRecurrent(model)
    for ids in rows_of([1, 30]):
        np.testing.assert_allclose(fast(ids), expected(model, ids), rtol=1e-4, atol=1e-3)
