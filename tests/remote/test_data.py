"""Data at a URL: read as local files are, fetched once, and again where it changed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.journeys.tiny_job import write_job
from tests.remote.object_store import Store

from tutelage.config import dump_recipe
from tutelage.data.formats import read_rows
from tutelage.data.rows import Problems
from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.runs.remote import fetching, local_file
from tutelage.runs.remote.objects import Objects
from tutelage.urls import is_remote, url_of


def texts(place: str) -> list[str]:
    problems = Problems("it")
    rows = read_rows(Path(place), problems, fields=["text"])
    assert not problems.listed()
    return [values["text"] for _, values in rows.values]


def test_every_format_is_read(server: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["p"]}), tmp_path / "t.parquet")
    there = Objects("s3://bucket/formats")
    there.write("t.csv", b"text\nc\n")
    there.write("t.tsv", b"text\nt\n")
    there.write("t.jsonl", b'{"text": "j"}\n')
    there.put({"t.parquet": tmp_path / "t.parquet"})
    endings = ("csv", "tsv", "jsonl", "parquet")
    assert [texts(f"s3://bucket/formats/t.{ending}") for ending in endings] == [
        ["c"],
        ["t"],
        ["j"],
        ["p"],
    ]


def test_an_object_is_fetched_once_and_again_where_it_changed(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, place = Objects("s3://bucket"), "s3://bucket/changing/t.csv"
    there.write("changing/t.csv", b"text\nold\n")
    assert texts(place) == ["old"]
    fetched: list[str] = []
    fetch = Objects.fetch
    monkeypatch.setattr(
        Objects, "fetch", lambda self, files: (fetched.extend(files), fetch(self, files))[1]
    )
    fetching._brought.clear()  # as in a new process
    assert texts(place) == ["old"]
    assert fetched == []
    there.write("changing/t.csv", b"text\nnew\n")
    assert texts(place) == ["old"]  # one process works on the same bytes throughout
    fetching._brought.clear()
    assert texts(place) == ["new"]
    copy = local_file(Path(place))
    copy.write_text("text\nspoilt copy\n")
    fetching._brought.clear()
    assert texts(place) == ["new"]


def test_what_is_not_there_is_named_by_its_url(server: Store) -> None:
    problems = Problems("t.csv")
    read_rows(Path("s3://bucket/none/t.csv"), problems, fields=["text"])
    assert "no such object: s3://bucket/none/t.csv" in str(problems.listed()[0])
    with pytest.raises(RecipeError, match=r"s3://bucket/none/r\.yaml: no such object"):
        load_recipe(Path("s3://bucket/none/r.yaml"))


def test_a_recipe_keeps_its_urls_and_stands_at_one(server: Store, tmp_path: Path) -> None:
    write_job(tmp_path, Path("/models/none"))
    text = (tmp_path / "recipe.yaml").read_text("utf-8")
    Objects("s3://bucket/job").write("recipe.yaml", text.encode())
    recipe = load_recipe(Path("s3://bucket/job/recipe.yaml"))
    dumped = dump_recipe(recipe)
    assert "train: s3://bucket/job/train.csv" in dumped.replace('"', "")
    (tmp_path / "again.yaml").write_text(dumped, encoding="utf-8")
    assert dump_recipe(load_recipe(tmp_path / "again.yaml")) == dumped


@pytest.mark.parametrize(
    "place", ["s3://me:pw@bucket/t.csv", "https://host/t.csv?signature=1", "s3://bucket/../t.csv"]
)
def test_secrets_in_a_url_are_refused_before_anything_is_written(
    place: str, tmp_path: Path
) -> None:
    write_job(tmp_path, Path("/models/none"))
    with pytest.raises(RecipeError, match="the URL holds") as caught:
        load_recipe(tmp_path / "recipe.yaml", overrides=[f"data.train='{place}'"])
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("place", ["s3://b/x", "gs://b/x/y.csv", "memory://b/x", "file:///tmp/x"])
def test_a_url_survives_path(place: str) -> None:
    assert is_remote(Path(place))
    assert url_of(Path(place)) == url_of(place) == place


def test_a_protocol_may_be_in_capitals() -> None:
    assert url_of(Path("S3://Bucket/X")) == "s3://Bucket/X"


@pytest.mark.parametrize(
    "place", ["C:/x", "s3/x", "./s3:/x", "/s3:/x", "package:name", "hub:a/b", "s3:x"]
)
def test_paths_are_no_urls(place: str) -> None:
    assert not is_remote(place)
