"""What stands at the beginning of weight files: names and shapes of tensors, read with care, for
nobody knows who wrote the file.

In: a safetensors or GGUF file. Out: shapes by name, or `ModelError`. Every count is held against
the bytes that are there before anything walks over it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from tutelage.errors import ModelError, one_line

MOST_HEADER_BYTES = 32 * 2**20
"""Of a safetensors header; one of 100,000 tensors has 12 MB."""
_MOST_DIMENSIONS = 8
_QUOTED_CHARACTERS = 200


def safetensors_shapes(path: Path) -> dict[str, Sequence[int]]:
    """Shapes of all tensors of a safetensors file, from its header.

    Raises:
        ModelError: The file is damaged, or its header is larger than a header is.
    """
    stat = path.stat()
    return dict(_safetensors_shapes(path, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=256)
def _safetensors_shapes(path: Path, size: int, _changed: int) -> dict[str, Sequence[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise ModelError(
                f"{path} cannot be read as safetensors (it has {size:,} bytes, "
                + ("too few for a header" if len(start) < 8 else f"its header {length:,}")
                + "); download it again"
            )
        if length > MOST_HEADER_BYTES:
            raise ModelError(
                f"{path} has a header of {length / 2**20:,.0f} MB, but more than "
                f"{MOST_HEADER_BYTES / 2**20:.0f} MB are not read: save the weights again, in "
                "several files"
            )
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, UnicodeError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({quoted(error)}); download it again"
        ) from error


def gguf_shapes(path: Path) -> dict[str, Sequence[int]]:
    """Shapes of all tensors of a GGUF file, from its header.

    Raises:
        ModelError: The file is damaged.
    """
    from gguf import GGUFReader

    require_sound_gguf(path)
    try:
        return {
            str(tensor.name): [int(side) for side in tensor.shape]
            for tensor in GGUFReader(str(path)).tensors
        }
    except Exception as error:  # whatever its reader makes of bytes that are no header
        raise ModelError(
            f"{path} cannot be read as a GGUF file ({quoted(error)}); download it again"
        ) from error


def require_sound_gguf(path: Path) -> None:
    """Refuse a GGUF file that tells of more entries than it has bytes, or of more layers than
    tensors: readers walk over as many as are told of.

    Raises:
        ModelError: It does; the message says what.
    """
    stat = path.stat()
    fault = _gguf_fault(path, stat.st_size, stat.st_mtime_ns)
    if fault:
        raise ModelError(f"{path} cannot be read as a GGUF file ({fault}); download it again")


class _Unsound(Exception):
    """What is wrong with a header."""


@lru_cache(maxsize=64)
def _gguf_fault(path: Path, size: int, _changed: int) -> str | None:
    try:
        with path.open("rb") as file:
            _walk_gguf(file, size)
    except (OSError, UnicodeError, struct.error) as error:
        return quoted(error)
    except _Unsound as fault:
        return str(fault)
    return None


_STRING, _ARRAY = 8, 9
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by the number of its type."""
_WHOLE_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}


def _walk_gguf(file: BinaryIO, size: int) -> None:
    def number(form: str) -> int:
        width = struct.calcsize(form)
        return struct.unpack(order + form, file.read(width))[0]

    def skip(count: int, width: int, what: str) -> None:
        left = size - file.tell()
        if count * width > left:
            raise _Unsound(f"{what} has {count:,} entries, but {left:,} bytes are left")
        file.seek(count * width, 1)

    def text(what: str) -> str:
        length = number("Q")
        if length > size - file.tell():
            raise _Unsound(f"{what} has {length:,} bytes, but {size - file.tell():,} are left")
        return file.read(length).decode("utf-8", "replace")

    def value(kind: int, what: str, depth: int = 0) -> int | None:
        if kind == _STRING:
            skip(number("Q"), 1, what)
        elif kind == _ARRAY:
            inner, count = number("I"), number("Q")
            if depth > 1:
                raise _Unsound(f"{what} holds lists of lists of lists")
            if inner in _SCALARS:
                skip(count, _SCALARS[inner], what)
            elif count * 8 > size - file.tell():
                raise _Unsound(
                    f"{what} has {count:,} entries, but {size - file.tell():,} bytes are left"
                )
            else:
                for _ in range(count):
                    value(inner, what, depth + 1)
        elif kind in _WHOLE_NUMBERS:
            return number(_WHOLE_NUMBERS[kind])
        elif kind in _SCALARS:
            skip(1, _SCALARS[kind], what)
        else:
            raise _Unsound(f"{what} is of the unknown type {kind}")
        return None

    order = "<"
    if file.read(4) != b"GGUF":
        raise _Unsound("it does not begin with the letters GGUF")
    version = file.read(4)
    if version[:2] == b"\0\0":
        order = ">"
    tensors, values = number("Q"), number("Q")
    for what, count, least in (("tensors", tensors, 24), ("values", values, 13)):
        if count * least > size:
            raise _Unsound(f"it tells of {count:,} {what}, but has {size:,} bytes")
    for _ in range(values):
        name = text("the name of a value")
        found = value(number("I"), quoted(name))
        if name.endswith(("block_count", "expert_count")) and found is not None:
            most = max(tensors, MOST_PARTS)
            if not 0 <= found <= most:
                raise _Unsound(f"{quoted(name)} is {found:,}, but there are {tensors:,} tensors")
    for _ in range(tensors):
        name = text("the name of a tensor")
        dimensions = number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise _Unsound(f"tensor {quoted(name)} has {dimensions:,} dimensions")
        skip(dimensions + 1, 8, f"tensor {quoted(name)}")
        skip(1, 4, f"tensor {quoted(name)}")


MOST_PARTS = 1024
"""Layers, experts and the like that a configuration may name though there are fewer tensors: layers
may share their weights, and experts may lie in one tensor."""


def quoted(said: Any) -> str:
    """At most so much of what a file or a library says as a message bears."""
    return one_line(" ".join(str(said).split()), most=_QUOTED_CHARACTERS)


def is_gguf(location: Path | None) -> bool:
    """Whether a model is one file in the format GGUF."""
    return location is not None and location.suffix.lower() == ".gguf"
