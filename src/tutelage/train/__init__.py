"""Training: one loop on Accelerate, over the steps of each kind of student.

In: a fresh student, what it learns from, settings. Out: the student with its best weights, its
metrics and checkpoints. Names are resolved when first used, so that settings can be imported
without torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing takes

if TYPE_CHECKING:
    from typing import Any

    from tutelage.train.loop import TrainResult, train
    from tutelage.train.optimizer import learning_rate_scale
    from tutelage.train.settings import LanguageTrainSettings, LoopSettings, TrainSettings
    from tutelage.train.step import Course, Step
    from tutelage.train.steps.classes.step import train_classifier
    from tutelage.train.steps.tokens.step import train_language_model
    from tutelage.train.steps.tokens.targets import LiveTargets, StoredTargets, TargetSource

__all__ = [
    "Course",
    "LanguageTrainSettings",
    "LiveTargets",
    "LoopSettings",
    "Step",
    "StoredTargets",
    "TargetSource",
    "TrainResult",
    "TrainSettings",
    "learning_rate_scale",
    "train",
    "train_classifier",
    "train_language_model",
]

_NAMES = {
    "Course": "step",
    "LanguageTrainSettings": "settings",
    "LiveTargets": "steps.tokens.targets",
    "LoopSettings": "settings",
    "Step": "step",
    "StoredTargets": "steps.tokens.targets",
    "TargetSource": "steps.tokens.targets",
    "TrainResult": "loop",
    "TrainSettings": "settings",
    "learning_rate_scale": "optimizer",
    "train": "loop",
    "train_classifier": "steps.classes.step",
    "train_language_model": "steps.tokens.step",
}


def __getattr__(name: str) -> Any:
    """A public name of this room, imported when it is first asked for."""
    if name not in _NAMES:
        raise AttributeError(
            f"module 'tutelage.train' has no attribute {name!r}; names: {', '.join(__all__)}"
        )
    value = getattr(importlib.import_module(f"tutelage.train.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, with what the module holds anyway."""
    return sorted({*globals(), *__all__})
