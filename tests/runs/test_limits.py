"""What ran too long or took too much ends, and what did not is left as it was."""

from __future__ import annotations

import resource
import signal
import threading

import pytest

from tutelage.runs.limits import OutOfLimits, within_limits


def endless():
    while True:
        try:
            while True:
                pass
        except Exception:  # who takes every error for his own does not stop it
            continue


def test_a_loop_ends():
    before = signal.getsignal(signal.SIGVTALRM)
    for _ in range(20):
        with pytest.raises(OutOfLimits, match=r"did not end within 0\.01 seconds"):
            within_limits(endless, seconds=0.01, memory_bytes=2**30)
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_what_takes_too_much_ends():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(OutOfLimits, match="asked for more than 64 MB"):
        within_limits(lambda: bytes(2**30), seconds=10, memory_bytes=2**26)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_what_stays_within_is_left_alone():
    assert within_limits(lambda: sum(range(10)), seconds=10, memory_bytes=2**26) == 45

    def fail():
        raise KeyError("mine")

    with pytest.raises(KeyError):
        within_limits(fail, seconds=10, memory_bytes=2**26)


def test_another_thread_has_no_clock():
    found = []

    def work():
        found.append(within_limits(lambda: 1, seconds=10, memory_bytes=2**30))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [1]
