"""What a language-model run says: one list of measures for page, plots, verdict and terminal."""

from tutelage.tasks.language.report.page import WORDS

__all__ = ["WORDS"]
