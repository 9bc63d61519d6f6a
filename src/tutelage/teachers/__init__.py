"""Teachers: models that write soft targets, and the one function that lets them label a data set.

`PromptedTeacher` asks a language model with a prompt; `ClassifierTeacher` puts a
classification head on it; `label` runs either over a data set. `CausalTeacher` says how likely
every token is next; `label_documents` runs it over a corpus.
"""

from tutelage.teachers.causal.teacher import CausalTeacher
from tutelage.teachers.classifier.features import default_layers, extract_features
from tutelage.teachers.classifier.teacher import ClassifierTeacher
from tutelage.teachers.label import label
from tutelage.teachers.label_documents import label_documents
from tutelage.teachers.prompted.calibration import Calibration
from tutelage.teachers.prompted.prompts import Prompt, draw_shots
from tutelage.teachers.prompted.teacher import PromptedTeacher
from tutelage.teachers.teacher import Teacher

Classifier = ClassifierTeacher
"""Short name for `tutelage.teachers.Classifier.load(...)`."""
Prompted = PromptedTeacher
"""Short name, as `Classifier`."""

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
