"""The output matrix of a `hidden` store, kept once beside the parts: what turns states into logits.

`output.safetensors` holds `weight` [V, H], perhaps `bias` [V] and `channels` [H], and as metadata
`scale` and `cap`. A matrix whose values bfloat16 holds exactly is written as bfloat16, else as
float32: it is never rounded.
"""

from __future__ import annotations

import json
import math
import mmap
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import (
    ShapeMismatch,
    TargetsCorrupt,
    TargetsError,
    TargetsIncomplete,
    TargetsMismatch,
)
from tutelage.runs import atomic_write_bytes, parse_json
from tutelage.targets.bounds import open_part
from tutelage.targets.manifest import (
    FILE,
    OUTPUT_FILE,
    Manifest,
    read_manifest,
    refuse_other_things,
)

_SHAPES = ("weight", "bias", "channels")
_MOST_HEADER_BYTES = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class OutputMatrix:
    """Logits are `cap * tanh(z / cap)`, z = `scale * (weight @ (states * scales) + bias)`; without
    a cap, z.
    """

    weight: NDArray[np.float32]
    """[V, H]; what multiplies `states * scales`. Where there are channels, they are in it
    already."""
    bias: NDArray[np.float32] | None
    """[V]."""
    scale: float
    """Factor of the logits."""
    cap: float | None
    """Bound of the logits; None: unbounded."""
    channels: NDArray[np.float32] | None = None
    """[H]; the teacher's hidden state is `states * scales * channels`. None stands for ones."""


def write_output_matrix(
    folder: Path | str,
    *,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    scale: float = 1.0,
    cap: float | None = None,
    channels: ArrayLike | None = None,
) -> str:
    """Write the output matrix of a `hidden` store, atomically, before the store's writer is opened.

    Writing the same again changes nothing, so labelling that goes on after a kill may simply call
    this anew.

    Args:
        folder: Of the store; made if missing.
        weight: [V, H], in float32 whatever type the teacher has.
        bias: [V].
        scale: Factor of the logits.
        cap: Logits become cap * tanh(logits / cap).
        channels: [H], > 0: states were divided by these before they were rounded. Hidden states of
            most language models have a few values many times larger than all others; one scale for
            a position then leaves little of its 8 bits to the rest. The root mean square of each
            channel over some hundred positions is a good choice: on SmolLM2-135M it lowers the
            divergence that rounding causes from 6.7e-3 to 5e-4 nats.

    Returns:
        SHA-256 of the file.

    Raises:
        ShapeMismatch: The arrays do not fit each other.
        ValueError: A number is not finite, or a channel or the cap is not above 0.
        TargetsMismatch: The folder holds a store with another output matrix, which is left as it
            is.
        TargetsError: The folder holds other things, which are left as they are.
    """
    arrays = _checked(weight, bias, channels, scale, cap)
    metadata = {"scale": repr(float(scale))} | ({} if cap is None else {"cap": repr(float(cap))})
    content = _serialize(arrays, metadata)
    digest = sha256(content).hexdigest()
    folder = Path(folder)
    refuse_other_things(folder)
    if (folder / FILE).exists():
        known = read_manifest(folder).encoding.get("output_sha256")
        if known != digest:
            raise TargetsMismatch(
                f"{folder} holds targets of {'another output matrix' if known else 'another kind'} "
                "and is left as it "
                "is. Write to another folder, or remove this one"
            )
    if output_digest(folder) != digest:
        atomic_write_bytes(folder / OUTPUT_FILE, content)
    return digest


def read_output_matrix(folder: Path | str) -> OutputMatrix:
    """The output matrix of a `hidden` store.

    Raises:
        TargetsIncomplete: There is none.
        TargetsCorrupt: It cannot be understood.
    """
    path = Path(folder) / OUTPUT_FILE
    header, content = _open(path)
    try:
        found = {name: _tensor(header[name], content) for name in _SHAPES if name in header}
        metadata = header.get("__metadata__", {})
        scale = float(metadata["scale"])
        cap = float(metadata["cap"]) if "cap" in metadata else None
        channels = found.get("channels")
        arrays = _checked(found["weight"], found.get("bias"), channels, scale, cap)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise TargetsCorrupt(f"{path} is not the output matrix of a store ({error!r})") from error
    weight = arrays["weight"] if channels is None else arrays["weight"] * channels
    return OutputMatrix(weight, found.get("bias"), scale, cap, channels)


def output_shape(folder: Path) -> tuple[int, int]:
    """V and H of the output matrix, from its header alone.

    Raises:
        TargetsIncomplete: There is none.
        TargetsCorrupt: It cannot be understood.
    """
    path = folder / OUTPUT_FILE
    header, _ = _open(path)
    try:
        rows, columns = header["weight"]["shape"]
        return int(rows), int(columns)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise TargetsCorrupt(f"{path} is not the output matrix of a store ({error!r})") from error


def output_digest(folder: Path) -> str | None:
    """SHA-256 of the output matrix, None if there is none.

    Raises:
        TargetsCorrupt: Something else is in its place.
    """
    path = folder / OUTPUT_FILE
    if not path.exists() and not path.is_symlink():
        return None
    with open_part(path, rows="all rows") as file:
        return file_digest(file, sha256).hexdigest()


def output_problem(folder: Path, manifest: Manifest) -> str | None:
    """What is wrong with the output matrix of a store whose manifest names its SHA-256; None if
    nothing is.
    """
    digest = str(manifest.encoding.get("output_sha256"))
    try:
        found = output_digest(folder)
    except TargetsCorrupt as error:
        return str(error)
    if found is None:
        return f"{folder / OUTPUT_FILE} is missing"
    if found != digest:
        return (
            f"{folder / OUTPUT_FILE} is damaged: its SHA-256 is {found[:12]}..., not "
            f"{digest[:12]}... as written"
        )
    try:
        shape = output_shape(folder)
    except TargetsCorrupt as error:
        return str(error)
    width = manifest.encoding["hidden_size"]
    if shape[0] < manifest.vocabulary_size or shape[1] != width:
        return (
            f"{folder / OUTPUT_FILE} has a weight of {shape[0]:,} by {shape[1]:,}; expected a row "
            f"for each of {manifest.vocabulary_size:,} ids and {width:,} columns"
        )
    return None


def _checked(
    weight: ArrayLike,
    bias: ArrayLike | None,
    channels: ArrayLike | None,
    scale: float,
    cap: float | None,
) -> dict[str, NDArray[np.float32]]:
    given = {"weight": weight, "bias": bias, "channels": channels}
    arrays = {
        name: np.ascontiguousarray(value, "<f4")
        for name, value in given.items()
        if value is not None
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    if arrays["weight"].ndim != 2:
        raise ShapeMismatch(f"a weight of shape {shapes['weight']} was given; expected [V, H]")
    rows, columns = shapes["weight"]
    if shapes.get("bias", (rows,)) != (rows,) or shapes.get("channels", (columns,)) != (columns,):
        raise ShapeMismatch(
            f"arrays of shapes {shapes} were given; expected weight [V, H], bias [V], channels [H]"
        )
    if not all(np.isfinite(array).all() for array in arrays.values()) or not math.isfinite(scale):
        raise ValueError("the output matrix holds numbers that are not finite")
    if not (cap is None or 0 < cap < math.inf) or not (
        channels is None or (arrays["channels"] > 0).all()
    ):
        raise ValueError(f"cap={cap} or a channel is not above 0; expected positive numbers")
    return arrays


def _serialize(arrays: dict[str, NDArray[np.float32]], metadata: dict[str, str]) -> bytes:
    """A safetensors file. The library's own writer puts metadata in an order that changes from call
    to call.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    blocks, start = [], 0
    for name, array in arrays.items():
        bits = array.view("<u4")
        exact = not (bits & 0xFFFF).any()
        blocks.append((bits >> 16).astype("<u2").tobytes() if exact else bits.tobytes())
        offsets = [start, start := start + len(blocks[-1])]
        header[name] = {
            "dtype": "BF16" if exact else "F32",
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *blocks])


def _open(path: Path) -> tuple[dict[str, Any], memoryview]:
    """The header of a safetensors file, and its data without reading them."""
    try:
        if not path.exists() and not path.is_symlink():
            raise TargetsIncomplete(
                f"{path} is missing, without which hidden states are no targets. Write it first: "
                "tutelage.targets.write_output_matrix(folder, weight=...)"
            )
        with open_part(path, rows="all rows") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        size = int.from_bytes(content[:8], "little")
        if size > min(_MOST_HEADER_BYTES, len(content) - 8):
            raise ValueError(f"its header has {size:,} bytes")
        header = parse_json(bytes(content[8 : 8 + size]))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        return header, content[8 + size :]
    except TargetsError:
        raise
    except (ValueError, OSError) as error:
        raise TargetsCorrupt(f"{path} is not readable as safetensors ({error})") from error


def _tensor(record: dict[str, Any], content: memoryview) -> NDArray[np.float32]:
    """One tensor as float32."""
    (start, end), shape = record["data_offsets"], [int(side) for side in record["shape"]]
    width = {"BF16": 2, "F32": 4}[record["dtype"]]
    if min(shape, default=1) < 0 or end - start != width * math.prod(shape) or start < 0:
        raise ValueError(f"bytes {start} to {end} are given for the shape {shape}")
    if record["dtype"] == "BF16":
        array = (np.frombuffer(content[start:end], "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        array = np.frombuffer(content[start:end], "<f4").copy()
    return array.reshape(shape)
