"""Numbers about classifiers in plain numpy: quality, fidelity, calibration, and how sure they are."""

from tutelage.metrics.calibration import ece, ece_of, reliability
from tutelage.metrics.intervals import Interval, bootstrap, mcnemar, mean_interval, paired_bootstrap
from tutelage.metrics.quality import (
    accuracy,
    agreement,
    agreements,
    brier,
    briers,
    confusion,
    correct,
    kl,
    kls,
    macro_f1,
    macro_f1_of,
    majority_class,
    nll,
    nlls,
)

__all__ = [
    "Interval",
    "accuracy",
    "agreement",
    "agreements",
    "bootstrap",
    "brier",
    "briers",
    "confusion",
    "correct",
    "ece",
    "ece_of",
    "kl",
    "kls",
    "macro_f1",
    "macro_f1_of",
    "majority_class",
    "mcnemar",
    "mean_interval",
    "nll",
    "nlls",
    "paired_bootstrap",
    "reliability",
]
