"""Teachers: models that write soft targets, and the one function that lets them label a data set.

`PromptedTeacher` asks a language model with a prompt; `ClassifierTeacher` puts a
classification head on it; `label` runs either over a data set. `CausalTeacher` says how likely
every token is next; `label_documents` runs it over a corpus. Names are resolved when first used, so
that the options of every kind (`teachers/KIND/spec.py`) can be imported without torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing takes

if TYPE_CHECKING:
    from typing import Any

    from tutelage.teachers.causal.teacher import CausalTeacher
    from tutelage.teachers.classifier.features import default_layers, extract_features
    from tutelage.teachers.classifier.teacher import ClassifierTeacher
    from tutelage.teachers.classifier.teacher import ClassifierTeacher as Classifier
    from tutelage.teachers.labelling import label, label_documents
    from tutelage.teachers.prompted.calibration import Calibration
    from tutelage.teachers.prompted.prompts import Prompt, draw_shots
    from tutelage.teachers.prompted.teacher import PromptedTeacher
    from tutelage.teachers.prompted.teacher import PromptedTeacher as Prompted
    from tutelage.teachers.teacher import Teacher

__all__ = [
    "Calibration",
    "CausalTeacher",
    "Classifier",
    "ClassifierTeacher",
    "Prompt",
    "Prompted",
    "PromptedTeacher",
    "Teacher",
    "default_layers",
    "draw_shots",
    "extract_features",
    "label",
    "label_documents",
]

_PLACES = {
    "Calibration": "prompted.calibration",
    "CausalTeacher": "causal.teacher",
    "Classifier": "classifier.teacher",
    "ClassifierTeacher": "classifier.teacher",
    "Prompt": "prompted.prompts",
    "Prompted": "prompted.teacher",
    "PromptedTeacher": "prompted.teacher",
    "Teacher": "teacher",
    "default_layers": "classifier.features",
    "draw_shots": "prompted.prompts",
    "extract_features": "classifier.features",
    "label": "labelling",
    "label_documents": "labelling",
}
_SHORT = {"Classifier": "ClassifierTeacher", "Prompted": "PromptedTeacher"}
"""Short names, for `tutelage.teachers.Classifier.load(...)`."""


def __getattr__(name: str) -> Any:
    """A public name of this room, imported when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(
            f"module 'tutelage.teachers' has no attribute {name!r}; names: {', '.join(__all__)}"
        )
    place = importlib.import_module(f"tutelage.teachers.{_PLACES[name]}")
    value = getattr(place, _SHORT.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, with what the module holds anyway."""
    return sorted({*globals(), *__all__})
