"""The words of a cascade: what contradicts itself is said in one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tutelage_runtime.cascade.options import add_words, around, holding, options_of
from tutelage_runtime.cascade.upstream import UpstreamOptions
from tutelage_runtime.serving.command import main as serve
from tutelage_runtime.serving.errors import ServeError

URL = ["--upstream", "https://api.example.com/v1"]


def options(*words: str, has_token: bool = False, **environment: str):
    parser = argparse.ArgumentParser()
    add_words(parser)
    return options_of(parser.parse_args(words), has_token=has_token, environment=environment)


def test_without_an_upstream_students_answer_alone():
    assert options() is None
    assert options("--mode", "student") is None


def test_with_one_it_is_a_cascade_and_the_key_is_never_shown():
    found = options(*URL, "--upstream-key-env", "KEY", KEY="sk-secret-0123456789")
    assert found is not None
    assert (found.mode, found.upstream_key) == ("cascade", "sk-secret-0123456789")
    assert "sk-secret" not in repr(found)


@pytest.mark.parametrize(
    ("words", "has_token", "message"),
    [
        (["--mode", "shadow"], False, "--mode shadow needs --upstream"),
        ([*URL, "--mode", "student"], False, "asks no upstream"),
        ([*URL, "--mode", "record"], False, "needs --record DIR"),
        (URL, True, "give --upstream-key-env"),
        ([*URL, "--upstream-key-env", "KEY"], False, "KEY is not set"),
        ([*URL, "--upstream-seconds", "0"], False, "above 0"),
        ([*URL, "--audit-seconds", "0"], False, "--audit-seconds must be above 0"),
    ],
)
def test_contradictions_are_told(words, has_token, message):
    with pytest.raises(ServeError, match=message):
        options(*words, has_token=has_token)


@pytest.mark.parametrize("url", ["api.example.com", "ftp://x", "https://a:b@x", "https://x/?key=1"])
def test_what_is_no_base_url_is_refused(url):
    with pytest.raises(ValueError, match="upstream"):
        UpstreamOptions(url=url)
    found = options("--upstream", url)
    assert found is not None
    with pytest.raises(ServeError):
        around(found)


def test_a_folder_of_state_is_of_one_server(tmp_path: Path):
    state = tmp_path / "state"
    with holding(None), holding(state):
        with pytest.raises(ServeError, match="is another server's"), holding(state):
            pass
        with holding(tmp_path / "other"):
            pass
    with holding(state):
        pass
    state.joinpath("file").touch()
    with holding(state / "file"):  # told when it is written
        pass


def test_a_second_server_with_the_same_state_does_not_start(tmp_path: Path, capsys):
    with holding(tmp_path / "state"):
        assert serve([str(tmp_path / "export"), "--state", str(tmp_path / "state")]) == 2
    assert "is another server's" in capsys.readouterr().err
