"""Training: a plain loop on Accelerate, its order, its noise, its optimizer, its checkpoints."""

from tutelage.train.language import train_language_model
from tutelage.train.language_settings import LanguageTrainSettings
from tutelage.train.language_targets import LiveTargets, StoredTargets, TargetSource
from tutelage.train.loop import TrainResult, train_classifier
from tutelage.train.settings import TrainSettings, learning_rate_scale

__all__ = [
    "LanguageTrainSettings",
    "LiveTargets",
    "StoredTargets",
    "TargetSource",
    "TrainResult",
    "TrainSettings",
    "learning_rate_scale",
    "train_classifier",
    "train_language_model",
]
