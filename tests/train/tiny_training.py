"""Training of the tiny student: settings that are quick, a display that remembers, and what a run
left."""

from contextlib import contextmanager

import torch
from tests.train.tiny import PAD, UNKNOWN, TinyStudent, tiny_rows

from tutelage.losses import ForwardKL
from tutelage.runs import MetricsLog
from tutelage.train import TrainSettings, train_classifier

FAST = TrainSettings(epochs=3, batch_size=16, learning_rate=1e-2)


class Listening:
    """A progress display that remembers, and can interrupt at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.said: list[str] = []
        self.total = self.done = 0
        self.stop_at = stop_at

    @contextmanager
    def bar(self, title, *, total, unit):
        self.total, self.done = total, 0

        def advance(units):
            self.done += units
            if units and self.done == self.stop_at:
                raise KeyboardInterrupt

        yield advance

    def say(self, message):
        self.said.append(message)


def train(out, *, model=None, rows=None, validation=None, settings=FAST, objective=None, **options):
    model = TinyStudent() if model is None else model
    result = train_classifier(
        model,
        PAD,
        tiny_rows() if rows is None else rows,
        tiny_rows(40, seed=1) if validation is None else validation,
        objective=objective or ForwardKL(),
        settings=settings,
        out=out,
        **{"unknown_id": UNKNOWN, **options},
    )
    return model, result


def records(out):
    return MetricsLog.read(out / "metrics.jsonl")


def same_weights(one, other):
    return all(
        torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items()
    )
