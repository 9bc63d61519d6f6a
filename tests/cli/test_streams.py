"""Results on terminals that cannot show every character, that are closed, or that are full."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.cli import streams
from tutelage.cli.tables import results_table
from tutelage.cli.terminal import TerminalProgress, explain
from tutelage.errors import RecipeError, TutelageError
from tutelage.tasks import task_named

TEXT = "schön – 日本 \U0001f9ff × ’quoted’ ─── \udcff"


def terminal(encoding: str, monkeypatch: pytest.MonkeyPatch, name: str = "stdout") -> io.BytesIO:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding))
    streams.adapt_streams()
    return raw


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "utf-8"])
def test_any_text_can_be_shown(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = terminal(encoding, monkeypatch)
    streams.write_result(TEXT)
    said = raw.getvalue().decode(encoding)
    assert said.startswith("sch")
    assert said.endswith("\\udcff\n")
    assert ("\\u65e5" in said) is (encoding != "utf-8")
    assert ("\\u2019" in said) is False, "our own quotation marks have a plain form"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_json_reads_as_the_same_value_whatever_the_terminal(encoding, monkeypatch) -> None:
    raw = terminal(encoding, monkeypatch)
    value = [{"text": TEXT, "é": 0.5}]
    streams.write_json(value)
    streams.write_json_line(json.dumps(value, ensure_ascii=False))
    first, second = raw.getvalue().decode(encoding).splitlines()
    assert json.loads(first) == json.loads(second) == value


def test_json_stays_readable_where_it_can(monkeypatch) -> None:
    raw = terminal("utf-8", monkeypatch)
    streams.write_json("schön")
    assert raw.getvalue().decode("utf-8") == '"schön"\n'


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_talk_and_errors_too(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = terminal(encoding, monkeypatch, "stderr")
    TerminalProgress().say(TEXT)
    assert explain(RecipeError(TEXT), command="run", as_json=False) == 2
    sys.stderr.flush()
    assert raw.getvalue().decode(encoding).count("sch") == 2


def test_the_table_of_a_run_has_plain_lines_where_others_cannot_be_shown(monkeypatch) -> None:
    golden = Path(__file__).parent / "golden" / "classification.json"
    raw = terminal("ascii", monkeypatch)
    evaluation = json.loads(golden.read_text("utf-8"))
    streams.write_result(results_table(evaluation, task_named("classification").words()))
    said = raw.getvalue().decode("ascii")
    assert "---" in said
    assert "\\u2500" not in said


def run_python(code: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=100,
        **more,
    )


SHOW = "from tutelage.cli import streams; streams.adapt_streams(); "


def test_a_closed_stdout_swallows_what_is_written() -> None:
    done = run_python(
        f"import os, sys; os.close(1); sys.stdout = None; {SHOW}streams.write_result('x')"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_that_nobody_reads_makes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        f"{SHOW}from tutelage.cli.terminal import explain\n"
        "try: streams.write_result('x' * 100_000)\n"
        "except OSError as error: raise SystemExit(explain(error, command='check', as_json=False))"
    )
    done = run_python(code, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said() -> None:
    code = (
        f"{SHOW}from tutelage.errors import TutelageError\n"
        "try: streams.write_result('x')\n"
        "except TutelageError as error: raise SystemExit(str(error))"
    )
    with Path("/dev/full").open("w") as full:
        done = run_python(code, stdout=full)
    assert done.returncode == 1
    assert "cannot be written to stdout (No space left on device)" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_error_is_one_of_ours(monkeypatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(TutelageError, match="give it another place"):
        streams.write_result("x")


def test_json_goes_to_stdout_by_one_door() -> None:
    sources = Path(streams.__file__).parent.glob("*.py")
    assert not [one.name for one in sources if "write_result(json" in one.read_text("utf-8")]
