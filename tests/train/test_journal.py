"""What a student leaves on disk while it trains, where its beginning is cut off."""

from types import SimpleNamespace

import pytest

from tutelage.train.journal import Journal


class Tracker:
    """As TensorBoard's of accelerate: it can be finished only after it has been started."""

    def finish(self) -> None:
        raise AttributeError("'TensorBoardTracker' object has no attribute 'writer'")


class Accelerator:
    is_main_process = True

    def __init__(self) -> None:
        self.trackers: list[Tracker] = []

    def wait_for_everyone(self) -> None:
        pass

    def init_trackers(self, *_: object, **__: object) -> None:
        self.trackers.append(Tracker())
        raise KeyboardInterrupt


def test_trackers_that_ctrl_c_kept_from_starting_are_not_finished(tmp_path) -> None:
    journal = Journal(tmp_path, Accelerator(), identity="one")
    state = SimpleNamespace(counters=SimpleNamespace(step=0))
    with pytest.raises(KeyboardInterrupt):
        journal.open(state, total=1)
    journal.close()
