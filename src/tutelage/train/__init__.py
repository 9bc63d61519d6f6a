"""Training: a plain loop on Accelerate, its order, its noise, its optimizer, its checkpoints."""

from tutelage.train.loop import TrainResult, train_classifier
from tutelage.train.settings import TrainSettings, learning_rate_scale

__all__ = ["TrainResult", "TrainSettings", "learning_rate_scale", "train_classifier"]
