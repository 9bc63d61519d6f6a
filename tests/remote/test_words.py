"""URLs among the words of the command line: brought here, left to the flow, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.cli.parser import build_parser, parse
from tutelage.cli.remote import bring
from tutelage.errors import RecipeError
from tutelage.runs.remote.objects import Objects


def brought(*words: str) -> dict:
    options = parse(build_parser(), list(words))
    bring(options)
    return vars(options)


def test_commands_that_read_get_a_copy() -> None:
    there = Objects("memory://words")
    there.write("run/targets/manifest.json", b"{}")
    there.write("t.csv", b"text\nx\n")
    options = brought("predict", "memory://words/run", "--file", "memory://words/t.csv")
    assert (options["folder"] / "targets" / "manifest.json").read_text() == "{}"
    assert options["file"].read_text() == "text\nx\n"
    options = brought("targets", "merge", "memory://words/run", "here", "--out", "merged")
    assert options["stores"][0].is_dir()
    assert options["stores"][1:] == [Path("here")]


def test_the_flow_is_given_urls_and_goes_on_with_runs_there() -> None:
    assert brought("run", "r.yaml", "--out", "s3://b/run")["out"] == Path("s3://b/run")
    options = brought("train", "s3://b/run")
    assert (options["recipe"], options["out"]) == (
        Path("s3://b/run/recipe.yaml"),
        Path("s3://b/run"),
    )
    options = brought("check", "s3://b/r.yaml")
    assert options["recipe"] == Path("s3://b/r.yaml")


@pytest.mark.parametrize(
    "words",
    [
        ["export", "s3://b/run", "--format", "onnx"],
        ["clean", "s3://b/run"],
        ["predict", "here", "--file", "t.csv", "--out", "s3://b/o.csv"],
        ["label", "s3://b/t.csv", "--labels", "a,b", "--model", "m"],
        ["label", "t.csv", "--out", "s3://b/o.csv"],
        ["init", "s3://b/r.yaml"],
        ["targets", "merge", "here", "--out", "s3://b/store"],
    ],
)
def test_what_writes_there_is_refused_with_the_way_out(words: list[str]) -> None:
    with pytest.raises(
        RecipeError, match=r"^s3://b/\S+: tutelage \w+ works on this disk alone; .* Copy it first"
    ):
        brought(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["repair", "s3://KEY:SECRET@b/run"],
        ["repair", "S3://KEY:SECRET@b/run"],
        ["predict", "s3://KEY:SECRET@b/run", "--file", "t.csv"],
        ["compare", "here", "s3://KEY:SECRET@b/run"],
        ["train", "s3://KEY:SECRET@b/run"],
        ["label", "s3://KEY:SECRET@b/t.csv", "--labels", "a,b", "--model", "m"],
        ["export", "s3://b/run?signature=SECRET", "--format", "onnx"],
    ],
)
def test_secrets_in_a_url_are_not_said_back(words: list[str]) -> None:
    with pytest.raises(RecipeError, match="the URL holds a name or password") as caught:
        brought(*words)
    assert "SECRET" not in str(caught.value)


def test_a_wrong_url_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "zz://b/run"]) == 2
    assert "no protocol that fsspec knows" in capsys.readouterr().err
    assert main(["verify", "memory://words/none"]) == 2
    assert "memory://words/none holds nothing" in capsys.readouterr().err
