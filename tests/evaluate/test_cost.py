import gc

import numpy as np
import pytest

from tutelage.errors import ModelError
from tutelage.evaluate import cost


class Machine:
    """A clock, and models that take a known time on it."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def model(self, name, seconds):
        def predict(texts):
            assert not gc.isenabled() or len(self.calls) < 6
            self.calls.append((name, tuple(texts)))
            self.now += seconds * len(texts)
            return np.ones((len(texts), 2)) / 2

        return predict


def test_latency_and_throughput_are_those_of_the_clock():
    machine = Machine()
    predictors = {"slow": machine.model("slow", 0.2), "fast": machine.model("fast", 0.001)}
    found = cost.measure_latency(
        predictors, ["a", "bb", "ccc"], batch_size=2, clock=lambda: machine.now, samples=20
    )
    assert found["slow"]["latency_ms_p50"]["value"] == pytest.approx(200)
    assert found["fast"]["latency_ms_p95"]["value"] == pytest.approx(1)
    assert found["slow"]["examples_per_second"]["value"] == pytest.approx(5)
    assert found["fast"]["examples_per_second"]["value"] == pytest.approx(1000)
    assert set(found["slow"]["latency_ms_p50"]) == {"value", "low", "high"}
    assert gc.isenabled()


def test_models_take_turns_on_the_same_texts():
    machine = Machine()
    predictors = {"a": machine.model("a", 1.0), "b": machine.model("b", 1.0)}
    cost.measure_latency(
        predictors, ["x", "y"], warm_up=1, rounds=1, clock=lambda: machine.now, samples=10
    )
    assert machine.calls[2:6] == [("a", ("x",)), ("b", ("x",)), ("b", ("y",)), ("a", ("y",))]


def test_no_text_is_refused():
    with pytest.raises(ValueError, match="at least one text and got none"):
        cost.measure_latency({}, [])


def test_only_the_files_needed_to_answer_are_counted(tmp_path):
    for name, size in {
        "model.safetensors": 1000,
        "config.json": 10,
        "tokenizer.json": 100,
        "vocab.txt": 7,
        "metrics.jsonl": 5000,
        "pytorch_model.bin": 1000,
        "optimizer.pt": 2000,
        "trainer_state.json": 300,
        "README.md": 50,
    }.items():
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.safetensors").write_bytes(b"x" * 9999)
    assert cost.folder_bytes(tmp_path) == 1117
    assert cost.folder_bytes(tmp_path / "model.safetensors") == 1000


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no weights"):
        cost.folder_bytes(tmp_path)


def test_exact_numbers_have_no_width():
    assert cost.exact(3) == {"value": 3.0, "low": 3.0, "high": 3.0}
