"""Parameter groups, state in and out, and the moving average."""

import pytest
import torch
from tests.train.tiny import TinyStudent

from tutelage.train import TrainSettings
from tutelage.train.optimizer import adamw, optimizer_tensors, restore_optimizer, set_learning_rate
from tutelage.train.state import MovingAverage


def groups_of(settings: TrainSettings) -> dict[str, tuple[float, float]]:
    model = TinyStudent()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = adamw(model, settings)
    set_learning_rate(optimizer, 0.5)
    return {
        names[id(p)]: (g["lr"], g["weight_decay"])
        for g in optimizer.param_groups
        for p in g["params"]
    }


def test_vectors_do_not_decay_and_embeddings_have_their_own_rate():
    found = groups_of(
        TrainSettings(learning_rate=0.1, embedding_learning_rate=0.4, weight_decay=0.3)
    )
    assert found == {
        "embedding.weight": (0.2, 0.3),
        "norm.weight": (0.05, 0.0),
        "norm.bias": (0.05, 0.0),
        "hidden.weight": (0.05, 0.3),
        "hidden.bias": (0.05, 0.0),
        "out.weight": (0.05, 0.3),
        "out.bias": (0.05, 0.0),
    }


@pytest.mark.parametrize(("given", "expected"), [(None, 0.05), (0.0, 0.0)])
def test_no_rate_for_embeddings_is_not_a_rate_of_zero(given, expected):
    settings = TrainSettings(learning_rate=0.1, embedding_learning_rate=given)
    assert groups_of(settings)["embedding.weight"][0] == expected


def one_step(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 40, (4, 5), generator=generator)
    model.eval()(ids, torch.ones_like(ids)).logits.pow(2).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_restored_optimizer_goes_on_alike():
    settings = TrainSettings(learning_rate=0.01)
    model = TinyStudent()
    optimizer = adamw(model, settings)
    assert optimizer_tensors(optimizer, model) == {}
    one_step(model, optimizer, 0)
    other = TinyStudent()
    other.load_state_dict(model.state_dict())
    again = adamw(other, settings)
    saved = {name: value.clone() for name, value in optimizer_tensors(optimizer, model).items()}
    restore_optimizer(again, other, saved)
    for number in (1, 2):
        one_step(model, optimizer, number)
        one_step(other, again, number)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_the_average_follows_its_definition_and_is_swapped_in_and_out():
    model = torch.nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, 0.5)
    expected = model.weight.item()
    for number, value in enumerate([1.0, 3.0, -2.0], start=1):
        torch.nn.init.constant_(model.weight, value)
        average.update()
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    with average.swapped_in():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == -2
    other = MovingAverage(torch.nn.Linear(1, 1, bias=False), 0.5)
    other.restore(average.tensors())
    assert other.tensors()["weight"].item() == pytest.approx(expected)
    assert other.tensors()["updates"].item() == 3


def test_the_average_follows_weights_that_move_to_other_memory():
    """As those of a recurrent network do when a GPU's kernels lay them together."""
    model = torch.nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, 0.5)
    model.weight.data = torch.full((1, 1), 5.0)
    start = average.tensors()["weight"].item()
    average.update()
    expected = start * (2 / 11) + 5 * (9 / 11)
    assert average.tensors()["weight"].item() == pytest.approx(expected)
    with average.swapped_in():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 5


def test_without_a_decay_there_is_no_average():
    model = torch.nn.Linear(1, 1)
    average = MovingAverage(model, None)
    average.update()
    assert average.tensors() == {}
    before = model.weight.item()
    with average.swapped_in():
        assert model.weight.item() == before


def test_some_weights_have_a_rate_of_their_own_and_decay_as_the_others():
    model = TinyStudent()
    model.embedding.weight.requires_grad_(False)
    settings = TrainSettings(learning_rate=0.1, embedding_learning_rate=0.4, weight_decay=0.3)
    optimizer = adamw(model, settings, learning_rates={"out.weight": 0.6, "out.bias": 0.6})
    set_learning_rate(optimizer, 0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (g["lr"], g["weight_decay"])
        for g in optimizer.param_groups
        for p in g["params"]
    }
    assert found == {
        "norm.weight": (0.05, 0.0),
        "norm.bias": (0.05, 0.0),
        "hidden.weight": (0.05, 0.3),
        "hidden.bias": (0.05, 0.0),
        "out.weight": (0.3, 0.3),
        "out.bias": (0.3, 0.0),
    }


def test_optimizers_with_other_groups_restore_each_other_by_name():
    settings, model = TrainSettings(learning_rate=0.01), TinyStudent()
    optimizer = adamw(model, settings, learning_rates={"out.weight": 0.1, "out.bias": 0.1})
    one_step(model, optimizer, 0)
    saved = optimizer_tensors(optimizer, model)
    again = adamw(model, settings)
    restore_optimizer(again, model, saved)
    for name, value in optimizer_tensors(again, model).items():
        assert torch.equal(value, saved[name]), name
