"""What ran too long or took too much ends, and what did not is left as it was."""

from __future__ import annotations

import resource
import signal
import threading

import pytest

from tutelage.runs.limits import OutOfLimits, limits


def test_a_loop_ends():
    before = signal.getsignal(signal.SIGVTALRM)

    def endless():
        while True:
            try:
                while True:
                    pass
            except Exception:  # who takes every error for his own does not stop it
                continue

    with (
        pytest.raises(OutOfLimits, match=r"did not end within 0\.1 seconds"),
        limits(seconds=0.1, memory_bytes=2**30),
    ):
        endless()
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_what_takes_too_much_ends():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with (
        pytest.raises(OutOfLimits, match="asked for more than 64 MB"),
        limits(seconds=10, memory_bytes=2**26),
    ):
        bytes(2**30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_what_stays_within_is_left_alone():
    with limits(seconds=10, memory_bytes=2**26):
        assert sum(range(10)) == 45
    with pytest.raises(KeyError), limits(seconds=10, memory_bytes=2**26):
        raise KeyError("mine")


def test_another_thread_has_no_clock():
    found = []

    def work():
        with limits(seconds=10, memory_bytes=2**30):
            found.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [1]
