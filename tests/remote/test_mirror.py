"""A folder here and a run at a URL: what is pushed in which order, who may write, and what a kill, a
silent owner and a busy store leave."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import pytest
from tests.remote.object_store import Store

from tutelage.errors import DataError, RunExists, StorageError
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
    place, talk, old = Path("s3://bucket/runs/silent"), Talk(), {}
    monkeypatch.setattr(mirror, "PAUSE_SECONDS", 60.0)
    with (  # noqa: PT012
        pytest.raises(RunExists, match="was taken over by another process"),
        mirrored(place, SILENT) as here,
    ):
        (here / "late.txt").write_text("late")
        old = json.loads(Objects(place).read(writers.LOCK) or b"")
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


def test_locks_are_understood_where_the_store_tells_no_condition(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(server, "is_terse", True)
    place, talk = Path("s3://bucket/runs/terse"), Talk()
    record = {"token": "x", "beat": time.time() - 600, "pid": 1, "host": "far"}
    Objects(place).write(writers.LOCK, json.dumps(record).encode())
    with mirrored(place, talk):  # noqa: SIM117 - two writers
        with pytest.raises(RunExists, match="is being written by process"), mirrored(place, SILENT):
            pass
    assert any("going on for process 1 on far" in line for line in talk.said)
    assert writers.LOCK not in Objects(place).list()


def test_the_lock_stays_while_something_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("memory://slow/run")
    monkeypatch.setattr(mirror, "LAST_SECONDS", 0.05)
    monkeypatch.setattr(mirror, "PAUSE_SECONDS", 60.0)  # one push, at the end
    arrives, put_there = Event(), Objects.put

    def put_slowly(self: Objects, files: Mapping[str, Path]) -> None:
        assert arrives.wait(20.0)
        put_there(self, files)

    monkeypatch.setattr(Objects, "put", put_slowly)
    talk = Talk()
    with pytest.raises(KeyboardInterrupt), mirrored(place, talk) as here:  # noqa: PT012
        atomic_write_text(here / "a" / "model.bin", "data")
        atomic_write_text(here / "a" / "manifest.json", "names them")
        raise KeyboardInterrupt
    assert "does not hold all that was done" in talk.said[-1]
    with pytest.raises(RunExists, match="is being written by process"), mirrored(place, SILENT):
        pass
    arrives.set()
    until = time.monotonic() + 20.0
    while writers.LOCK in Objects(place).list() and time.monotonic() < until:
        time.sleep(0.01)
    names = [name for name in Objects(place).list() if not name.startswith(".remote")]
    assert names == ["a/model.bin"]  # nothing was begun once nobody waited
    with mirrored(place, SILENT):
        pass
    assert {"a/model.bin", "a/manifest.json"} <= set(Objects(place).list())


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


def test_a_kill_while_lost_files_are_brought_spoils_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Path("memory://half/run")
    with mirrored(place, SILENT) as here:
        (here / "a.txt").write_text("all of it")
    (here / "a.txt").unlink()

    def die_half_way(_: Objects, files: Mapping[str, Path]) -> None:
        for path in files.values():
            path.write_text("all")
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Objects, "fetch", die_half_way)
        with pytest.raises(KeyboardInterrupt), mirrored(place, SILENT):
            pass
    assert not (here / "a.txt").exists()
    with mirrored(place, SILENT) as here:
        assert (here / "a.txt").read_text() == "all of it"
    assert Objects(place).read("a.txt") == b"all of it"


@pytest.mark.parametrize("name", ["/outside", "../../outside", "a//outside", "."])
def test_names_that_are_no_files_of_a_folder_are_refused(
    name: str, server: Store, tmp_path: Path
) -> None:
    place = Path(f"s3://bucket/runs/names/{len(name)}")
    with mirrored(place, SILENT) as here:
        (here / "a.txt").write_text("a")
    name = f"{tmp_path}{name}" if name.startswith("/") else name
    server.put(f"runs/names/{place.name}/{name}", b"from outside")
    with pytest.raises(DataError, match="holds an object of the name"):
        local_folder(place)
    if name != ".":  # hidden, so no object of a run
        with pytest.raises(DataError, match="holds an object of the name"), mirrored(place, SILENT):
            pass
    assert (here / "a.txt").read_text() == "a"
    assert list(tmp_path.rglob("outside")) == []


def test_hidden_objects_are_left_alone(server: Store) -> None:
    place = Path("s3://bucket/runs/hidden")
    with mirrored(place, SILENT) as here:
        (here / "a.txt").write_text("a")
        atomic_write_text(here / ".stages" / "a.json", "{}")
    hidden = [".lock", ".DS_Store", "targets/.part.parquet.77.tmp", "b/.git/config"]
    for name in hidden:
        Objects(place).write(name, b"hidden")
    for _ in range(2):
        with mirrored(place, SILENT) as here:
            (here / "a.txt").write_text(os.urandom(4).hex())
    assert {*hidden, "a.txt", ".stages/a.json"} <= set(Objects(place).list())
    assert not any((here / name).exists() for name in hidden)


def test_objects_that_stand_for_folders_are_no_files(
    server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path("s3://bucket/runs/console")
    for name in ("", "targets/", "targets"):
        server.put(f"runs/console/{name}" if name else "runs/console/")
    with mirrored(place, SILENT) as here:
        atomic_write_text(here / "targets" / "manifest.json", "{}")
    assert (local_folder(place) / "targets" / "manifest.json").read_text() == "{}"
    with mirrored(place, SILENT) as here:
        atomic_write_text(here / "targets" / "part", "part")
    another_machine(monkeypatch, tmp_path)
    with mirrored(place, SILENT) as here:
        assert sorted(path.name for path in (here / "targets").iterdir()) == [
            "manifest.json",
            "part",
        ]


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
