"""Writes tests/contracts/golden/store_v1. It was run once; the files are the promise that format 1 stays readable.

Never run it again for format 1: a reader that cannot read the old files has broken the contract, not the files. For a
new format, write a golden store of its own beside this one: python tests/contracts/write_golden_store.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tutelage.targets import TargetWriter
from tutelage.types import example_id

FOLDER = Path(__file__).parent / "golden" / "store_v1"
LABELS = ("negative", "neutral", "positive")
ROWS = {
    "Broke after two days.": (0.875, 0.09375, 0.03125),
    "It is a cable.": (0.0625, 0.875, 0.0625),
    "Best purchase this year, très bien!": (0.0, 0.0, 1.0),
    "Not bad, not good.": (0.25, 0.5, 0.25),
    "": (0.3, 0.4, 0.3),
}

if __name__ == "__main__":
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} is there already, and stays")
    settings = {"kind": "class_probabilities", "teacher": "0123456789abcdef", "labels": LABELS, "seed": 7}
    with TargetWriter.open(FOLDER, rows_per_part=3, **settings) as writer:
        writer.missing([example_id(text) for text in ROWS])
        writer.add([example_id(text) for text in ROWS], np.array(list(ROWS.values())))
        writer.finish()
