"""Small files of strangers: read, or refused in a few words; never waited for."""

from __future__ import annotations

import os

import pytest

from tutelage.runs import open_regular, parse_json, read_json


def test_json_comes_back(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, -2.5, "é", true, null]}', "utf-8")
    assert read_json(tmp_path / "a.json") == {"a": [1, -2.5, "é", True, None]}
    (tmp_path / "link").symlink_to("a.json")
    assert read_json(tmp_path / "link")["a"][0] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"\xff", "byte 0 is no UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[" * 200_000, "nested too deep"),
        (b"1" * 41, "a number of 41 digits"),
        (b"-" + b"1" * 100_000, "a number of 100,001 digits"),
        (b"1e400", "1e400, which is too large"),
        (b"0." + b"1" * 5000, "which is too large or too long"),
        (b"[Infinity]", "Infinity, which is no JSON"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
    ],
)
def test_what_is_no_json_is_told(content, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content)


def test_more_than_was_allowed_is_not_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b"[1]")
    assert read_json(tmp_path / "a.json", most=3) == [1]
    with pytest.raises(ValueError, match="it has more than 2 bytes"):
        read_json(tmp_path / "a.json", most=2)


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, message in {
        ".": "it is a folder, not a file",
        "pipe": "it is a pipe or a device, not a file",
        "zero": "it is a pipe or a device, not a file",
    }.items():
        with pytest.raises(OSError, match=message):
            open_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nowhere")
