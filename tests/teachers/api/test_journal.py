"""What the journal of replies promises: nothing kept is lost, and nothing half is read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import RunExists, StorageError
from tutelage.teachers.api.journal import BALLAST_FILE, FILE, open_journal, request_name
from tutelage.teachers.api.protocol import Request, Usage

REPLIES = {bytes([number]) * 16: {"number": number} for number in range(20)}


def fill(folder: Path) -> None:
    with open_journal(folder) as journal:
        for name, reply in REPLIES.items():
            journal.add(name, reply, model="m", usage=Usage(3, 1, 2), seconds=0.25)


def test_replies_are_found_again(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_journal(tmp_path) as journal:
        assert {name: journal.reply(name) for name in REPLIES} == REPLIES
        assert journal.usages == {Usage(3, 1, 2): 20}
        assert journal.models == {"m": 20}
        assert journal.seconds == [0.25] * 20
        assert journal.reply(b"x" * 16) is None


@pytest.mark.parametrize("cut", [1, 7, 40, 100])
def test_half_a_line_is_cut_off_and_the_next_reply_fits_in(tmp_path: Path, cut: int) -> None:
    fill(tmp_path)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-cut])
    with open_journal(tmp_path) as journal:
        assert len(journal) == 19
        journal.add(b"x" * 16, {"a": 1}, model="m", usage=Usage())
    with open_journal(tmp_path) as journal:
        assert len(journal) == 20
        assert journal.damaged == 0
        assert journal.reply(b"x" * 16) == {"a": 1}


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_flipped_byte_costs_no_other_reply(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    fill(folder)
    data = bytearray((folder / FILE).read_bytes())
    place %= len(data)
    was, data[place] = data[place], value
    (folder / FILE).write_bytes(bytes(data))
    with open_journal(folder) as journal:
        wrong = [
            name for name, reply in REPLIES.items() if journal.reply(name) not in (reply, None)
        ]
        lost = [name for name in REPLIES if journal.reply(name) is None]
    assert not wrong
    # A line that ends elsewhere takes the one after it along.
    assert len(lost) <= (0 if was == value else 2)


def test_a_secret_that_a_server_repeats_is_not_written(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        reply = {"echo": "Bearer sk-secret"}
        journal.add(b"x" * 16, reply, model="m", usage=Usage(), hide="sk-secret")
    assert b"sk-secret" not in (tmp_path / FILE).read_bytes()


def test_a_secret_that_looks_like_a_number_spoils_no_number(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        reply = {"p": 0.12345678, "said": ["key 12345678"]}
        journal.add(b"x" * 16, reply, model="m", usage=Usage(), hide="12345678")
        assert journal.reply(b"x" * 16) == {"p": 0.12345678, "said": ["key [key]"]}


def test_half_characters_are_kept(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add(b"x" * 16, {"a": "\ud800"}, model="m", usage=Usage())
        assert journal.reply(b"x" * 16) == {"a": "\ud800"}


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with open_journal(tmp_path), pytest.raises(RunExists), open_journal(tmp_path):
        pass


def test_a_full_disk_takes_the_last_replies_into_its_ballast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_journal(tmp_path) as journal:
        journal.make_room()
        real, ballast = os.pwrite, tmp_path / BALLAST_FILE

        def full(file: int, data: bytes, place: int) -> int:
            if ballast.exists():
                real(file, data[:10], place)  # a part still fits
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(file, data, place)

        monkeypatch.setattr(os, "pwrite", full)
        journal.add(b"x" * 16, {"a": 1}, model="m", usage=Usage())
        assert not ballast.exists()
        assert journal.reply(b"x" * 16) == {"a": 1}

        def fuller(file: int, data: bytes, place: int) -> int:
            real(file, data[:10], place)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", fuller)
        with pytest.raises(StorageError, match="the disk is full"):
            journal.add(b"y" * 16, {"b": 1}, model="m", usage=Usage())
        monkeypatch.setattr(os, "pwrite", real)
        journal.add(b"z" * 16, {"c": 1}, model="m", usage=Usage())
    with open_journal(tmp_path) as journal:
        assert (len(journal), journal.damaged) == (2, 0)
        assert journal.reply(b"z" * 16) == {"c": 1}


def test_set_aside_keeps_the_old_file(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_journal(tmp_path) as journal:
        old = journal.set_aside()
        assert old is not None
        assert len(journal) == 0
        journal.add(b"x" * 16, {"new": 1}, model="n", usage=Usage())
    with open_journal(tmp_path) as journal:
        assert dict(journal.models) == {"n": 1}
    assert old.read_bytes().count(b"\n") == 20


def test_a_request_is_named_by_what_it_says() -> None:
    one = Request("decisions", {"model": "m", "input": "a"})
    assert request_name(one, attempt=0) == request_name(
        Request("decisions", {"input": "a", "model": "m"}), attempt=0
    )
    others = [
        (Request("decisions", {"model": "m", "input": "b"}), 0),
        (Request("systemone", {"model": "m", "input": "a"}), 0),
        (one, 1),
    ]
    assert (
        len({request_name(one, attempt=0)} | {request_name(a, attempt=b) for a, b in others}) == 4
    )
