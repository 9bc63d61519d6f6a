"""How a command ends where something was raised."""

import threading

import pytest

from tutelage.cli.terminal import explain, hush_threads
from tutelage.errors import ModelError, StorageError


def raised_after(first: BaseException, second: Exception) -> Exception:
    try:
        try:
            raise first
        finally:
            raise second
    except Exception as error:
        return error


def test_what_a_library_raises_while_it_tidies_up_after_ctrl_c_is_ctrl_c(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = raised_after(KeyboardInterrupt(), AttributeError("no attribute 'writer'"))
    assert explain(error, command="run", as_json=False) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        raised_after(ValueError("first"), AttributeError("second")),
        raised_after(KeyboardInterrupt(), StorageError("the disk is full")),
    ],
)
def test_other_errors_are_told(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(error, command="run", as_json=False) == 1
    assert str(error) in capsys.readouterr().err


def caused_by(cause: Exception) -> Exception:
    try:
        raise ModelError("m: it could not be loaded. Save it again") from cause
    except ModelError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("could not create a primitive"),
        caused_by(RuntimeError("std::bad_alloc")),
    ],
)
def test_a_want_of_memory_is_told_whoever_says_so(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(error, command="run", as_json=False) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("NotEnoughMemory: no more memory could be had")


def test_a_model_that_is_broken_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(caused_by(ValueError("bad header")), command="run", as_json=False) == 2
    assert "Save it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "is_told"),
    [(OSError(28, "No space left on device"), False), (MemoryError(), False), (KeyError(1), True)],
)
def test_of_a_librarys_thread_a_full_disk_is_not_told_twice(
    error: Exception, *, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    hush_threads()

    def fail() -> None:
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert bool(told) is is_told
