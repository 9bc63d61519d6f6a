"""Hostile data files: whatever stands in them, they are read or refused in words, within bounds."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tiny_tokenizer import make_tokenizer
from tests.hostile.asking import bounded, hostile

from tutelage.data import prepare, prepare_documents
from tutelage.data.limits import ReadingLimits
from tutelage.errors import RecipeError

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
"""Of a file that was refused wrongly: the fault itself is to be seen."""

LABELS = ("bad", "good", "café")
SMALL = ReadingLimits(row_bytes=20_000, file_bytes=2_000_000)
"""So that inputs of this size meet them."""

WORDS = [
    "a film",
    "good",
    "",
    " ",
    "\n",
    "café",
    "cafe\u0301",
    "<|im_end|>",
    "<|im_start|>user",
    "\0",
    "\r",
    "\ufeff",
    "\u202e",
    "🙂",
    "\U000f0000",
    "\U00100000",
    "=1+1",
    "None",
    "NaN",
    "-0",
    "1e999",
    "{{ 7 * 7 }}",
    "[INST]",
    "../../etc/passwd",
    "x" * 30_000,
]
cells = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=20),
    st.lists(st.sampled_from(WORDS[:-1]), max_size=5).map(" ".join),
)
names = st.sampled_from(["bad", "good", "café", "cafe\u0301", " good ", "Good", "0", "1", "9", ""])


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def ask(path: Path, content: bytes, tokenizer: Any) -> None:
    """Read a file as examples and, in each way that there is, as documents."""
    path.write_bytes(content)
    ways: list[dict[str, Any]] = [{"text_field": "text"}]
    if path.suffix != ".csv":
        ways += [
            {"messages_field": "messages"},
            {"prompt_field": "text", "response_field": "label"},
        ]
    with bounded():
        said = [
            problems_of(prepare, path, LABELS, test=0.4, validation=0.2, limits=SMALL),
            *(
                problems_of(
                    prepare_documents,
                    path,
                    tokenizer,
                    test=0.4,
                    validation=0.2,
                    limits=SMALL,
                    long_documents="truncate",
                    **way,
                )
                for way in ways
            ),
        ]
    for text in said:
        assert len(text) < 60_000
        text.encode("utf-8")


def problems_of(prepare: Any, *args: Any, **settings: Any) -> str:
    try:
        return "\n".join(map(str, prepare(*args, **settings).warnings))
    except RecipeError as error:
        return str(error)


def spoiled(contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files as they are, and with bytes changed, taken out or cut off."""

    @st.composite
    def change(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(contents))
        for _ in range(draw(st.integers(0, 3)) if content else 0):
            start = draw(st.integers(0, len(content)))
            length = draw(st.sampled_from([0, 1, 1, 4, 100]))
            content[start : start + length] = draw(st.binary(max_size=4))
        if draw(st.integers(0, 9)) == 0:
            del content[draw(st.integers(0, len(content))) :]
        return bytes(content)

    return st.one_of(contents, change())


def separated(rows: list[list[str]], quoting: Any, ending: str, encoding: str) -> bytes:
    out = io.StringIO()
    try:
        csv.writer(out, quoting=quoting, lineterminator=ending, escapechar="\\").writerows(rows)
    except csv.Error:
        return b"text,label\n"
    return out.getvalue().encode(encoding, "surrogatepass")


csv_files = st.builds(
    lambda header, rows, *form: separated([header, *rows], *form),
    st.sampled_from(
        [
            ["text", "label"],
            ["text"],
            ["label", "text"],
            ["text", "text", "label"],
            ["text;label"],
            [],
        ]
    ),
    st.lists(
        st.one_of(
            st.tuples(cells, names).map(list), st.lists(cells, max_size=4), st.just(["a,b", "c"])
        ),
        max_size=12,
    ),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-8"]),
)


@hostile("csv")
@given(content=spoiled(csv_files) | st.binary(max_size=300))
def test_csv(place: Path, tokenizer: Any, content: bytes) -> None:
    ask(place / "rows.csv", content, tokenizer)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -1, 0, 1, 2, 2.0, 0.5]),
    cells,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cells, inner, max_size=3),
    max_leaves=8,
)
parts = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": cells}),
        st.fixed_dictionaries({"type": cells}, optional={"text": values}),
        values,
    ),
    max_size=3,
)
messages = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["user", "assistant", "system", "tool"]),
                "content": cells | parts | st.none(),
            },
            optional={"tool_calls": values, "name": values, "thinking": cells},
        ),
        values,
    ),
    max_size=5,
)
rows = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "text": cells | values,
            "label": names | scalars,
            "messages": messages | values,
            "other": values,
        },
    ),
    values,
)


def line(value: Any, escaped: bool, nested: int, twice: bool) -> str:
    text = json.dumps(value, ensure_ascii=escaped)
    if nested:
        text = '{"text": ' + "[" * nested + text + "]" * nested + "}"
    return text[:-1] + ', "text": "again"}' if twice and text.endswith("}") else text


lines = st.builds(
    line,
    rows,
    st.booleans(),
    st.sampled_from([0] * 12 + [90, 200, 990, 50_000]),
    st.sampled_from([False] * 9 + [True]),
)
good_lines = st.tuples(st.integers(0, 99), names).map(
    lambda one: json.dumps(
        {
            "text": f"text {one[0]}",
            "label": one[1],
            "messages": [
                {"role": "user", "content": f"is it {one[0]}?"},
                {"role": "assistant", "content": one[1] or "no"},
            ],
        }
    )
)
jsonl_files = st.lists(
    lines | good_lines | st.sampled_from(["", "[", "{", '{"text": "a', "9" * 5000, "NaN"]),
    max_size=12,
).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))


@hostile("jsonl")
@given(content=spoiled(jsonl_files) | st.binary(max_size=200))
def test_jsonl(place: Path, tokenizer: Any, content: bytes) -> None:
    ask(place / "rows.jsonl", content, tokenizer)


def column(kind: str, count: int, seed: int) -> Any:
    """A column of some type, with nothing in some places."""
    texts = [WORDS[(seed * 7 + row) % (len(WORDS) - 1)] for row in range(count)]
    numbers = [(seed * 31 + row * 17) % 5 - 1 for row in range(count)]
    turns = [
        [
            {"role": "user", "content": text, "name": None},
            {"role": "assistant", "content": text or "x", "name": None},
        ]
        for text in texts
    ]
    bare = [None if (row + seed) % 5 == 0 else row for row in range(count)]
    match kind:
        case "text":
            return pa.array(
                [None if none is None else t for none, t in zip(bare, texts, strict=True)]
            )
        case "view":
            return pa.array(texts, pa.string_view())
        case "dictionary":
            return pa.array(texts).dictionary_encode()
        case "long":
            return pa.array(["y" * 3000] * count).dictionary_encode()
        case "names":
            return pa.array([LABELS[number % 3] for number in numbers])
        case "binary":
            return pa.array([b"\xff" + text.encode() for text in texts])
        case "fixed":
            return pa.array([b"\xfe\xff"] * count, pa.binary(2))
        case "broken":
            data = b"ok\xff\xfe" * count
            offsets = pa.py_buffer(
                b"".join((4 * n).to_bytes(4, "little") for n in range(count + 1))
            )
            return pa.Array.from_buffers(pa.string(), count, [None, offsets, pa.py_buffer(data)])
        case "integer":
            return pa.array(numbers, pa.int64())
        case "float":
            return pa.array([float("nan") if n < 0 else float(n) for n in numbers])
        case "decimal":
            return pa.array(numbers).cast(pa.decimal128(38, 5))
        case "time":
            return pa.array([2**62 - seed] * count, pa.timestamp("us", tz="Nowhere/City"))
        case "moment":
            return pa.array([datetime(2020, 1, 1) + timedelta(days=n) for n in numbers])
        case "date":
            return pa.array([2**31 - 1] * count, pa.date32())
        case "duration":
            return pa.array([2**62] * count, pa.duration("s"))
        case "null":
            return pa.nulls(count)
        case "boolean":
            return pa.array([number > 0 for number in numbers])
        case "messages":
            return pa.array(turns)
        case "map":
            return pa.array([[("a", n)] for n in numbers], pa.map_(pa.string(), pa.int64()))
        case "lists":
            return pa.array([[[n]] for n in numbers])
        case "sized":
            return pa.array([[n, n] for n in numbers], pa.list_(pa.int64(), 2))
        case "struct":
            return pa.array([{"role": text} for text in texts])
        case "deep":
            value: Any = "x"
            for _ in range(seed % 7 * 25):
                value = [value]
            return pa.array([value] * count)
        case "byte":
            return pa.array(numbers, pa.int8())
    raise AssertionError(kind)


KINDS = [
    "text",
    "view",
    "dictionary",
    "long",
    "names",
    "binary",
    "fixed",
    "broken",
    "integer",
    "float",
    "decimal",
    "time",
    "moment",
    "date",
    "duration",
    "null",
    "boolean",
    "messages",
    "map",
    "lists",
    "sized",
    "struct",
    "deep",
    "byte",
]


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    count = draw(st.sampled_from([0, 1, 3, 20, 20, 1000]))
    usual = {"text": "text", "label": "names", "messages": "messages", "other": "lists"}
    columns, titles = [], []
    for title in draw(st.lists(st.sampled_from(list(usual)), min_size=1, max_size=5)):
        kind = usual[title] if draw(st.booleans()) else draw(st.sampled_from(KINDS))
        columns.append(column(kind, count, draw(st.integers(0, 50))))
        titles.append(title)
    out = io.BytesIO()
    try:
        pq.write_table(
            pa.table(columns, names=titles),
            out,
            compression=draw(st.sampled_from(["none", "zstd", "snappy", "gzip"])),
            row_group_size=draw(st.sampled_from([7, 1_000_000])),
            use_dictionary=draw(st.booleans()),
            store_schema=draw(st.booleans()),
        )
    except (pa.ArrowException, ValueError):
        return b"PAR1"
    return out.getvalue()


@hostile("parquet")
@given(content=spoiled(parquet_files()) | st.binary(max_size=200))
def test_parquet(place: Path, tokenizer: Any, content: bytes) -> None:
    ask(place / "rows.parquet", content, tokenizer)
