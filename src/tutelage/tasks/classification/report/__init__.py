"""What a classification run says: one list of measures for page, plots, verdict and terminal."""

from tutelage.tasks.classification.report.page import WORDS

__all__ = ["WORDS"]
