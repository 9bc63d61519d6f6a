"""How a command ends where something was raised."""

import pytest

from tutelage.cli.terminal import explain
from tutelage.errors import StorageError


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
