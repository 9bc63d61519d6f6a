"""Words that differ between the pages of the tasks and stand in templates that they share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """The words of one task."""

    unit: str
    """What the test data consists of: row, document."""
    tested: str
    """How many of them there are."""
    judged_on: str
    """What the intervals are over."""
    best: str
    """Which of several students the headline speaks of."""
    note: str
    """What must be known to read the large numbers, after the words on intervals; begins with a
    space."""
    alone: str
    """What controls are trained on."""
    price: str
    """What the table of cost holds."""
    better: str
    """Which way is better on the plot of quality against cost: Up, Down."""
    plot: str
    """What else there is to know about that plot."""
    predicted: str
    """What one point of a calibration curve holds."""
    answers: str
    """What a model is confident of."""
    learning: str
    """How to read the charts of training."""
