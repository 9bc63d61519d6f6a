"""A folder here and a run at a URL: what is pushed in which order, who may write, and what a kill, a
silent owner and a busy store leave."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.remote.object_store import Store

from tutelage.errors import RunExists, StorageError
from tutelage.runs.files import atomic_write_text
from tutelage.runs.remote import local_folder, mirror, mirrored, objects, writers
from tutelage.runs.remote.objects import Objects
from tutelage.types import SILENT


class Talk:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bar = SILENT.bar

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAUSE_SECONDS", 0.02)


def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str = "other") -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / name))


def test_another_machine_goes_on_with_what_was_pushed(
    server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, talk = Path("s3://bucket/runs/first"), Talk()
    with mirrored(place, talk) as here:
        assert list(here.iterdir()) == []
        atomic_write_text(here / "targets" / "part-00000.parquet", "part")
        atomic_write_text(here / "gone.txt", "x")
        (here / ".passing").write_text("not pushed")
        time.sleep(0.3)
        (here / "gone.txt").unlink()
    assert "pushed" in talk.said[-1]
    another_machine(monkeypatch, tmp_path)
    with mirrored(place, talk) as there:
        assert there != here
        assert [path.name for path in there.rglob("*") if path.is_file()] == ["part-00000.parquet"]
        atomic_write_text(there / "targets" / "part-00000.parquet", "newer")
    another_machine(monkeypatch, tmp_path, "cache")
    with mirrored(place, SILENT) as here:  # remembers, but was not the last to write
        assert (here / "targets" / "part-00000.parquet").read_text() == "newer"
    assert not (local_folder(place) / ".remote").exists()


def test_records_come_after_what_they_name_and_go_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put: list[list[str]] = []
    removed: list[str] = []
    put_there, remove_there = Objects.put, Objects.remove
    monkeypatch.setattr(
        Objects, "put", lambda self, files: (put.append(sorted(files)), put_there(self, files))
    )
    monkeypatch.setattr(
        Objects, "remove", lambda self, names: (removed.extend(names), remove_there(self, names))
    )
    monkeypatch.setattr(mirror, "PAUSE_SECONDS", 60.0)  # one push, at the end
    files = [
        ".stages/finished/report.json",
        ".stages/a.json",
        "a/manifest.json",
        "a/model.bin",
        "z.txt",
    ]
    with mirrored(Path("memory://order/run"), SILENT) as here:
        for name in files:
            atomic_write_text(here / name, name)
    assert put == [
        ["a/model.bin", "z.txt"],
        ["a/manifest.json"],
        [".stages/a.json"],
        [".stages/finished/report.json"],
    ]
    removed.clear()
    with mirrored(Path("memory://order/run"), SILENT) as here:
        for name in files:
            (here / name).unlink()
    assert removed[:3] == [".stages/a.json", ".stages/finished/report.json", "a/manifest.json"]
    assert removed[3:5] == ["a/model.bin", "z.txt"]


def test_two_do_not_write_one_run(monkeypatch: pytest.MonkeyPatch, server: Store) -> None:
    place = Path("s3://bucket/runs/locked")
    with mirrored(place, SILENT):  # noqa: SIM117 - two writers
        with pytest.raises(
            RunExists, match=r"s3://bucket/runs/locked is being written by process \d+ on "
        ):
            with mirrored(place, SILENT):
                pass
    with mirrored(place, SILENT):  # an end in good order lets others in
        pass


def test_a_silent_owner_is_taken_over_and_pushes_nothing_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Store
) -> None:
    place, talk = Path("s3://bucket/runs/silent"), Talk()
    monkeypatch.setattr(mirror, "PAUSE_SECONDS", 60.0)
    with (  # noqa: PT012
        pytest.raises(RunExists, match="was taken over by another process"),
        mirrored(place, SILENT) as here,
    ):
        (here / "late.txt").write_text("late")
        old = json.loads(Objects(place).read(writers.LOCK))
        Objects(place).write(
            writers.LOCK, json.dumps({**old, "beat": time.time() - 600, "host": "far"}).encode()
        )
        another_machine(monkeypatch, tmp_path)
        with mirrored(place, talk) as there:
            (there / "mine.txt").write_text("mine")
    assert any(f"going on for process {old['pid']} on far" in line for line in talk.said)
    assert (here / "late.txt").read_text() == "late"
    names = [name for name in Objects(place).list() if not name.startswith(".remote")]
    assert names == ["mine.txt"]


def test_a_dead_process_of_this_machine_is_taken_over_at_once(server: Store) -> None:
    place = Path("s3://bucket/runs/dead")
    record = {"token": "x", "beat": time.time(), "pid": 2**22 + 5, **writers._machine()}
    Objects(place).write(writers.LOCK, json.dumps(record).encode())
    with mirrored(place, SILENT):
        pass


def test_a_busy_store_is_asked_again(server: Store) -> None:
    place = Path("s3://bucket/runs/busy")
    with mirrored(place, SILENT) as here:
        (here / "a.txt").write_text("a")
        server.busy = 4
    assert server.busy == 0
    assert "a.txt" in Objects(place).list()


def test_a_store_that_stays_away_leaves_the_work_here_and_says_so(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path("s3://bucket/runs/away")
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
    with (  # noqa: PT012
        pytest.raises(
            StorageError,
            match=r"Nothing is lost: it lies in .*runs/s3/bucket/runs/away, and the same command",
        ),
        mirrored(place, SILENT) as here,
    ):
        (here / "a.txt").write_text("a")
        server.busy = 10**6
    server.busy = 0
    with mirrored(place, SILENT) as here:
        assert (here / "a.txt").read_text() == "a"
    assert "a.txt" in Objects(place).list()


def test_an_error_inside_names_the_url_and_pushes_what_was_done(server: Store) -> None:
    place = Path("s3://bucket/runs/failing")
    with (  # noqa: PT012
        pytest.raises(RunExists, match=r"^s3://bucket/runs/failing was made by"),
        mirrored(place, SILENT) as here,
    ):
        (here / "a.txt").write_text("a")
        raise RunExists(f"{here} was made by another recipe")
    assert "a.txt" in Objects(place).list()


def test_a_tidied_cache_removes_nothing_there(server: Store) -> None:
    place = Path("s3://bucket/runs/tidied")
    with mirrored(place, SILENT) as here:
        (here / "a.txt").write_text("a")
        (here / "b.txt").write_text("b")
    (here / "a.txt").unlink()
    with mirrored(place, SILENT) as here:
        assert (here / "a.txt").read_text() == "a"
    assert {"a.txt", "b.txt"} <= set(Objects(place).list())


def test_what_cannot_be_is_said_in_a_line(server: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for place, words in {
        "s3://nobucket/run": "there is no such bucket; make it, or correct the URL",
        "zz://bucket/run": "zz:// is no protocol that fsspec knows",
        "s3://me:secret@bucket/run": "holds a name or password before @",
    }.items():
        with pytest.raises(StorageError, match=words) as caught, mirrored(Path(place), SILENT):
            pass
        assert caught.value.is_wrong_place
        assert "secret" not in str(caught.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    s3fs.S3FileSystem.clear_instance_cache()
    with (
        pytest.raises(StorageError, match="no credentials were found"),
        mirrored(Path("s3://bucket/run"), SILENT),
    ):
        pass
    s3fs.S3FileSystem.clear_instance_cache()
