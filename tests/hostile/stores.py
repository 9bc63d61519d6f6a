"""Stores of both tasks, whole, and the hundred ways in which somebody may have changed them since.

Every way keeps what it does not change, and most of them mend the checksums in the manifest
afterwards: what is looked at next is then reached too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from tests.targets import class_targets, token_targets

KINDS = ("class_probabilities", "sampled", "top_k", "hidden")

# fmt: off
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 7, 255, 65_536, 2**31, -(2**31), 2**53, 2**63, -(2**63), 2**64, 2**127,
    10**30, -(10**39), 10**60, 0.5, -0.5, 1e-300, 5e-324, 1e308, float("inf"), float("nan")]
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "..", "../part-00000.parquet", "/etc/passwd", "part-00000.parquet", "part-0.parquet",
        "part-00001.parquet/../../x", "part-00009.parquet", "part-٠٠٠٠٠.parquet", "a\0b",
        "\ud800", "\x1b[2J", "\u202e", "part-" + "9" * 5000 + ".parquet", "x" * 300_000,
        "0" * 64, "sampled", "top_k", "hidden", "class_probabilities", "logits", "é", "NaN"]
    ),
    st.text(max_size=20),
)
# fmt: on
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.integers(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["threshold", "k", "budget", "bits", "file", "x"]), inner),
    ),
    max_leaves=4,
)


@cache
def content_of(kind: str, *, described: bool) -> dict[str, bytes]:
    """The files of a finished store in two parts; with or without what a part says of itself."""
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "targets"
        if kind == "class_probabilities":
            ids, probs = class_targets.IDS[:12], class_targets.PROBS[:12]
            class_targets.write(path, ids, probs)
        else:
            values = token_targets.documents(kind, [3, 0, 2, 5, 1])
            with token_targets.open_writer(path, kind) as writer:
                writer.add([token_targets.name(row) for row in range(3)], values[:3])
                writer.flush()
                writer.add([token_targets.name(row) for row in range(3, 5)], values[3:])
                writer.finish()
        if not described:
            for part in path.glob("*.parquet"):
                pq.write_table(pq.read_table(part).replace_schema_metadata(None), part)
            mend(path)
        return {found.name: found.read_bytes() for found in path.iterdir()}


def lay_out(folder: Path, kind: str, *, described: bool) -> None:
    """Write a whole store."""
    folder.mkdir(parents=True)
    for name, content in content_of(kind, described=described).items():
        (folder / name).write_bytes(content)


def _record(folder: Path) -> Any:
    """The manifest, as far as it is one."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise OSError
    return json.loads(path.read_text("utf-8"))


def _clear(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mend(folder: Path) -> None:
    """Make sizes and checksums in the manifest those of the files, as far as it can be read."""
    try:
        record = _record(folder)
        for part in record["parts"]:
            path = folder / part["file"]
            if path.is_file() and path.stat().st_size < 2**26:
                content = path.read_bytes()
                part["bytes"], part["sha256"] = len(content), sha256(content).hexdigest()
        output = folder / "output.safetensors"
        if output.is_file():
            record["encoding"]["output_sha256"] = sha256(output.read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(record), "utf-8")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return


Damage = Callable[[Path], None]


@st.composite
def of_manifest(draw: st.DrawFn) -> Damage:
    """One value of the manifest is another, is gone, or is there once more."""
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat"]))
    steps, value = draw(st.lists(st.integers(0, 30), min_size=3, max_size=3)), draw(VALUES)
    number, text, alike = draw(NUMBERS), draw(TEXTS), draw(st.booleans())

    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        try:
            record = _record(folder)
        except (ValueError, OSError, RecursionError):
            return
        inner, last = record, None
        for step in steps:
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            if not keys:
                break
            last = (inner, keys[step % len(keys)])
            inner = inner[last[1]]
            if not isinstance(inner, dict | list):
                break
        if last is None:
            return
        holder, key = last
        if how == "replace":
            old = holder[key]
            near = number if isinstance(old, int) else text if isinstance(old, str) else value
            holder[key] = near if alike else value
        elif how == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.extend([holder[key]] * (1 + steps[0]))
        else:
            holder["more"] = holder[key]
        path.write_text(json.dumps(record), "utf-8", errors="surrogatepass")

    return damage


# fmt: off
RAW = st.sampled_from(
    [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe{\x00", b"\xef\xbb\xbf{}", b'{"format": 1}',
    b'{"format": true}', b'{"format": ' + b"1" * 5000 + b"}", b'{"format": 2}', b'"\\ud800"',
    b"[" * 100_000, b'{"a":' * 100_000, b'{"format": 1e999}', b"\0" * 1000, b"1" * 100_000]
)
# fmt: on


@st.composite
def of_bytes(draw: st.DrawFn) -> Damage:
    """Bytes of one file are others, in any place; the rest of it stays, or is cut off."""
    which = draw(st.sampled_from(["manifest.json", "part", "part", "part", "output.safetensors"]))
    how = draw(st.sampled_from(["raw", "flip", "flip", "flip", "cut", "insert"]))
    raw, place = draw(st.one_of(RAW, st.binary(max_size=40))), draw(st.integers(0, 2**20))
    bit = draw(st.integers(1, 255))

    def damage(folder: Path) -> None:
        name = which
        if which == "part":
            parts = sorted(found.name for found in folder.glob("part-*"))
            name = parts[place % len(parts)] if parts else which
        path = folder / name
        if not path.is_file():
            return
        content = path.read_bytes()
        at = place % (len(content) + 1)
        if how == "raw":
            content = raw
        elif how == "cut":
            content = content[:at]
        elif how == "insert":
            content = content[:at] + raw + content[at:]
        elif at < len(content):
            content = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        path.write_bytes(content)

    return damage


@st.composite
def of_place(draw: st.DrawFn) -> Damage:
    """Something else lies where a file belongs."""
    names = ["manifest.json", "part-00000.parquet", "part-00002.parquet", "output.safetensors"]
    name = draw(st.sampled_from(names))
    how = draw(
        st.sampled_from(["gone", "folder", "full", "pipe", "nowhere", "loop", "endless", "other"])
    )

    def damage(folder: Path) -> None:
        path = folder / name
        _clear(path)
        if how in ("folder", "full"):
            path.mkdir()
        if how == "full":
            (path / "precious").write_text("")
        if how == "pipe":
            os.mkfifo(path)
        links = {"nowhere": "none", "loop": name, "endless": "/dev/zero", "other": "manifest.json"}
        if how in links:
            path.symlink_to(links[how])

    return damage


def _column(draw: st.DrawFn, table: pa.Table) -> tuple[int, pa.Array]:
    """Other values for one column, of its type."""
    place = draw(st.integers(0, table.num_columns - 1))
    kind, seed = table.schema.field(place).type, draw(st.integers(0, 2**16))
    chance = np.random.default_rng(seed)
    rows = table.column(place).to_pylist()
    if pa.types.is_fixed_size_binary(kind):
        rows = [rows[chance.integers(len(rows))] for _ in rows] if seed % 2 else rows[::-1]
    elif pa.types.is_binary(kind):
        rows = [chance.bytes(max(0, len(row) + int(chance.integers(-1, 2)))) for row in rows]
    else:
        some = draw(st.sampled_from([0, 1, -1, 2, 127, 128, 255, 65_535, 2**31 - 1, 2**32 - 1]))
        value = kind.value_type
        if pa.types.is_floating(value):
            some = draw(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 3e38, 1e-45]))
        else:
            width = np.iinfo(value.to_pandas_dtype())
            some = min(max(some, int(width.min)), int(width.max))
        for row in rows:
            for at in range(len(row or ())):
                if chance.random() < 0.3:
                    row[at] = some
        if seed % 3 == 0 and pa.types.is_list(kind):
            rows = [[*row, some] if chance.random() < 0.5 else row[:-1] for row in rows]
    return place, pa.array(rows, kind)


@st.composite
def of_table(draw: st.DrawFn, kind: str) -> Damage:
    """A part that is Parquet, of other values, columns, types, or very many rows."""
    files = content_of(kind, described=True)
    name = min(found for found in files if found.startswith("part-"))
    table = pq.read_table(pa.BufferReader(files[name]))
    how = draw(st.sampled_from(["values"] * 6 + ["type", "drop", "twice", "null", "meta", "empty"]))
    metadata = dict(table.schema.metadata or {})
    place = draw(st.integers(0, table.num_columns - 1))
    field, column = table.schema.field(place), table.column(place)
    if how == "values":
        for _ in range(draw(st.integers(1, 3))):
            place, values = _column(draw, table)
            table = table.set_column(place, table.schema.field(place), values)
    elif how == "type":
        other = draw(st.sampled_from([pa.int64(), pa.string(), pa.list_(pa.string()), pa.null()]))
        table = table.set_column(place, field.name, pa.nulls(len(table), other))
    elif how == "drop":
        table = table.drop_columns([field.name])
    elif how == "twice":
        table = table.append_column(field.name, column)
    elif how == "null":
        rows = [None, *column.to_pylist()[1:]]
        table = table.set_column(
            place, pa.field(field.name, field.type), pa.array(rows, field.type)
        )
    elif how == "empty":
        table = table.slice(0, 0)
    if how == "meta":
        metadata[b"tutelage"] = draw(RAW)
    elif draw(st.booleans()):
        metadata.pop(b"tutelage", None)
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return _instead(
        sink.getvalue().to_pybytes(), name, table.num_rows if draw(st.booleans()) else None
    )


def _instead(content: bytes, name: str, rows: int | None) -> Damage:
    """Other bytes in the place of a part, and perhaps in the manifest as many rows."""

    def damage(folder: Path) -> None:
        _clear(folder / name)
        (folder / name).write_bytes(content)
        if rows is not None:
            _say(folder, rows)

    return damage


@cache
def _bomb(kind: str, place: int) -> tuple[str, bytes]:
    """A part of one row, or of some thousand, that unfolds to half a gigabyte and more."""
    files = content_of(kind, described=False)
    name = min(found for found in files if found.startswith("part-"))
    table = pq.read_table(pa.BufferReader(files[name])).slice(0, 1)
    field = table.schema.field(place)
    if pa.types.is_binary(field.type):
        same = pa.DictionaryArray.from_arrays(
            np.zeros(1000, np.int32), pa.array([b"\0" * 2**20], pa.binary())
        )
        columns = [column.combine_chunks() for column in table.columns]
        columns = [pa.concat_arrays([column] * 1000) for column in columns]
        columns[place] = same
        table = pa.table(columns, names=table.schema.names)
    elif pa.types.is_list(field.type):
        flat = pa.array(np.zeros(36_000_000, field.type.value_type.to_pandas_dtype()))
        values = pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat)
        table = table.set_column(place, field.name, values)
    else:
        table = pa.concat_tables([table] * 5000).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return name, sink.getvalue().to_pybytes()


@st.composite
def bombs(draw: st.DrawFn, kind: str) -> Damage:
    """A part of few bytes that unfolds to very many."""
    name, content = _bomb(kind, draw(st.sampled_from([1, 7] if kind == "sampled" else [1])))
    return _instead(content, name, draw(st.sampled_from([1, 1000])))


def _say(folder: Path, rows: int) -> None:
    """Let the manifest have as many rows in the first part."""
    path = folder / "manifest.json"
    try:
        record = _record(folder)
        part = record["parts"][0]
        record["expected_rows"] += rows - part["rows"]
        part["positions"] = rows if record["kind"] == "class_probabilities" else part["positions"]
        part["rows"] = rows
        path.write_text(json.dumps(record), "utf-8")
    except (ValueError, KeyError, TypeError, IndexError, OSError, RecursionError):
        return


def damages(kind: str) -> st.SearchStrategy[list[Damage]]:
    """One or two ways to change a store of a kind."""
    one_of_all = st.one_of(of_manifest(), of_manifest(), of_bytes(), of_place(), of_table(kind))
    one = st.integers(0, 30).flatmap(lambda number: one_of_all if number else bombs(kind))
    return st.lists(one, min_size=1, max_size=2)
