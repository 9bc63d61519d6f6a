"""Training on a device that a test names, whatever the machine has: accelerate takes a GPU that is
there unless its environment says otherwise, and remembers what it took.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from accelerate.state import AcceleratorState, PartialState


@contextlib.contextmanager
def training_on(device: str) -> Iterator[None]:
    """What trains inside trains there."""
    before = os.environ.pop("ACCELERATE_USE_CPU", None)
    AcceleratorState._reset_state(reset_partial_state=True)
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    try:
        assert PartialState().device.type == device
        yield
    finally:
        os.environ.pop("ACCELERATE_USE_CPU", None)
        if before is not None:
            os.environ["ACCELERATE_USE_CPU"] = before
        AcceleratorState._reset_state(reset_partial_state=True)
