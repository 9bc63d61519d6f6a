"""What a student is worth: quality and cost beside the teacher's, and what simple methods reach.

In come probabilities for the same test rows from every model, and callables that answer; out comes
evaluation.json. Nothing here imports torch.
"""

from tutelage.evaluate import cost
from tutelage.evaluate.classes import baselines, predictions
from tutelage.evaluate.classes import comparison as classification

__all__ = ["baselines", "classification", "cost", "predictions"]
