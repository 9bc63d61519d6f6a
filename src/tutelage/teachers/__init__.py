"""Teachers: models that write soft targets, and the one function that lets them label a data set.

`load_language_model` finds and loads a model; `PromptedTeacher` asks it with a prompt; `ClassifierTeacher` puts a
classification head on it; `label` runs either over a data set.
"""

from tutelage.teachers.calibration import Calibration
from tutelage.teachers.classifier import ClassifierTeacher
from tutelage.teachers.facts import ModelFacts, model_facts
from tutelage.teachers.features import default_layers, extract_features
from tutelage.teachers.label import Teacher, label
from tutelage.teachers.loading import LanguageModel, load_language_model, model_fingerprint
from tutelage.teachers.prompted import PromptedTeacher
from tutelage.teachers.prompts import Prompt, draw_shots

Classifier = ClassifierTeacher
"""Short name for `tutelage.teachers.Classifier.load(...)`."""
Prompted = PromptedTeacher
"""Short name, as `Classifier`."""

__all__ = [
    "Calibration",
    "Classifier",
    "ClassifierTeacher",
    "LanguageModel",
    "ModelFacts",
    "Prompt",
    "Prompted",
    "PromptedTeacher",
    "Teacher",
    "default_layers",
    "draw_shots",
    "extract_features",
    "label",
    "load_language_model",
    "model_facts",
    "model_fingerprint",
]
