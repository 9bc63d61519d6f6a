"""Teachers: models that write soft targets, and the one function that lets them label a data set.

`load_language_model` finds and loads a model; `PromptedTeacher` asks it with a prompt; `ClassifierTeacher` puts a
classification head on it; `label` runs either over a data set. `CausalTeacher` says how likely every token is next;
`label_documents` runs it over a corpus.
"""

from tutelage.teachers.calibration import Calibration
from tutelage.teachers.causal_lm import CausalTeacher
from tutelage.teachers.classifier import ClassifierTeacher
from tutelage.teachers.facts import ModelFacts, model_facts
from tutelage.teachers.features import default_layers, extract_features
from tutelage.teachers.label import Teacher, label
from tutelage.teachers.label_documents import label_documents
from tutelage.teachers.loading import LanguageModel, has_fast_bfloat16, load_language_model, model_fingerprint
from tutelage.teachers.prompted import PromptedTeacher
from tutelage.teachers.prompts import Prompt, draw_shots
from tutelage.teachers.tokenizers import load_tokenizer, model_config, require_same_tokenizer, tokenizer_fingerprint

Classifier = ClassifierTeacher
"""Short name for `tutelage.teachers.Classifier.load(...)`."""
Prompted = PromptedTeacher
"""Short name, as `Classifier`."""

__all__ = [
    "Calibration",
    "CausalTeacher",
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
    "has_fast_bfloat16",
    "label",
    "label_documents",
    "load_language_model",
    "load_tokenizer",
    "model_config",
    "model_facts",
    "model_fingerprint",
    "require_same_tokenizer",
    "tokenizer_fingerprint",
]
