"""What the file system refuses is told in words, whoever raised it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from tutelage.cli.terminal import explain
from tutelage.errors import DataError, StorageError, TutelageError
from tutelage.runs.storage import require_utf8, shown, storage_error, storing


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, 1, "the disk is full. Free some space"),
        (errno.EDQUOT, 1, "quota"),
        (errno.EFBIG, 1, "ulimit -f"),
        (errno.EROFS, 2, "read-only"),
        (errno.EACCES, 2, "chown"),
        (errno.EPERM, 2, "chmod"),
        (errno.ENAMETOOLONG, 2, "255 bytes"),
        (errno.ENOENT, 2, "a link leads nowhere"),
        (errno.ENOTDIR, 2, "a file lies where a folder is expected"),
        (errno.EISDIR, 2, "a folder lies where a file is expected"),
        (errno.EEXIST, 2, "something else has this name"),
        (errno.ELOOP, 2, "in a circle"),
        (errno.EMFILE, 1, "ulimit -n"),
        (errno.ENFILE, 1, "this machine has no file handles left"),
        (errno.EIO, 1, "dmesg"),
        (errno.ESTALE, 1, "network drive"),
        (errno.EBUSY, 1, "another program"),
        (errno.ENOLCK, 2, "another disk"),
    ],
)
def test_every_refusal_has_its_words_on_one_line(number, code, words, capsys) -> None:
    with pytest.raises(StorageError) as caught, storing(Path("runs/a")):
        raise OSError(number, os.strerror(number), "runs/a/targets/part-00000.parquet")
    error = caught.value
    assert error.errno == number
    assert isinstance(error, OSError)
    assert isinstance(error, TutelageError)
    assert str(error).startswith("runs/a/targets/part-00000.parquet: ")
    assert explain(error, command="run", as_json=False) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_what_no_door_of_ours_passed_is_told_all_the_same(capsys) -> None:
    assert explain(OSError(errno.EMFILE, "Too many"), command="run", as_json=False) == 1
    said = capsys.readouterr().err
    assert said.startswith("StorageError: this process has no file handles left. Raise")
    assert "not an error that tutelage expected" not in said


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", 28),
        ("[Errno 27] Error writing bytes to file. Detail: [errno 27] File too large", 27),
        ("unable to open file </a (2)/m> in read-only mode: Too many open files (24)", 24),
    ],
)
def test_the_number_is_read_out_of_what_libraries_say(text, number) -> None:
    found = storage_error(RuntimeError(text), Path("a"))
    assert found is not None
    assert found.errno == number


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the tensor (28) has another shape"),
        ValueError("[Errno 28] of somebody else"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        DataError("a.csv: No space left on device (os error 28)"),
    ],
)
def test_other_errors_stay_what_they_are(error) -> None:
    assert storage_error(error, Path("a")) is None
    with pytest.raises(type(error)) as caught, storing(Path("a")):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save_file({"a": np.zeros(3)}, path),
        lambda path: pq.write_table(pa.table({"a": [1]}), path),
        lambda path: Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(path)),
        lambda path: path.write_bytes(b"a"),
    ],
)
def test_all_that_write_for_us_are_understood(write, tmp_path) -> None:
    for place, number in (("gone/a", errno.ENOENT), ("a" * 300, errno.ENAMETOOLONG)):
        with pytest.raises(StorageError) as caught, storing(tmp_path / place):
            write(tmp_path / place)
        assert caught.value.errno == number


def test_a_file_that_stands_in_for_another_is_not_named() -> None:
    error = OSError(errno.ENOSPC, "full", "runs/.report.html.77.tmp")
    assert str(storage_error(error, Path("runs/report.html"))).startswith("runs/report.html: ")
    assert str(storage_error(error)).startswith("the disk is full")


def test_a_path_is_quoted_on_one_line_and_cut() -> None:
    assert shown(Path("a/b")) == "a/b"
    assert shown("caf\udce9\n\x1b[31m") == "caf\\udce9\\n\\x1b[31m"
    assert shown("é" * 10) == "é" * 10
    assert len(shown("x/" * 5_000)) < 300


def test_paths_that_are_no_utf8_are_refused() -> None:
    require_utf8(Path("café"))
    with pytest.raises(StorageError, match=r"^caf\\udce9: the name is not UTF-8. Rename it"):
        require_utf8(Path(os.fsdecode(b"caf\xe9")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_array_that_is_cut_short_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"model\.gguf: the disk is full, or the file would be"),
        storing(tmp_path / "model.gguf"),
        Path("/dev/full").open("wb") as full,
    ):
        np.zeros(2**20).tofile(full)
