"""Looking at a target store without using it: its numbers, samples, whether every part is whole,
and its rows as lines of JSON, for programs that would rather not read Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt
from tutelage.runs import place_for, replacing, storing
from tutelage.targets.bounds import batches
from tutelage.targets.encoding import LoadedPart, encoder_of
from tutelage.targets.manifest import OUTPUT_FILE, read_manifest
from tutelage.targets.output_matrix import read_output_matrix
from tutelage.targets.parts import advice
from tutelage.targets.reader import TargetStore, read_index
from tutelage.targets.rows import SparseTargets, from_ids

_ROWS_AT_A_TIME = 256
_SHOWN_ENTRIES = 8
MOST_NAMED = 50
"""Broken parts that `verify` names one by one."""


def verify(path: Path | str) -> list[str]:
    """Check every part of a store: there, whole, readable, made for this store, no row twice, every
    row decodable.

    An interrupted store is fine: all that it has so far must be whole.

    Args:
        path: Folder of the store.

    Returns:
        One message for each broken part, and how many more where there are very many, or one about
        a broken manifest; empty if all is well.

    Raises:
        TargetsIncomplete: There is no store.
        TargetsError: It has another format version.
    """
    folder = Path(path)
    try:
        manifest, index = read_index(folder, read_manifest(folder))
    except TargetsCorrupt as error:
        return [str(error)]
    broken = list(index.broken)
    if not broken and manifest.kind == "hidden":
        try:
            read_output_matrix(folder)
        except TargetsCorrupt as error:
            broken.append(str(error))
    if not broken:
        for part in index.parts:
            try:
                for _ in _decoded(part):
                    pass
            except TargetsCorrupt as error:
                broken.append(str(error))
    left = len(broken) - MOST_NAMED
    return broken[:MOST_NAMED] + ([f"and {left:,} more"] if left > 0 else [])


def inspect(
    path: Path | str | TargetStore,
    *,
    decode: Callable[[list[int]], str] | None = None,
    samples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """What a store holds, in numbers; an interrupted store too.

    Args:
        path: Folder of the store; or a store that is open, which is not verified again.
        decode: Text of token ids, a tokenizer's own `decode`; None shows the ids alone.
        samples: How many positions of `sampled` or `top_k` to show.
        seed: Which ones.

    Returns:
        `kind`, `rows`, `positions` (distributions), `bytes` (of the parts), `bytes_per_position`,
        `mean_entropy_nats` and `kept_mass` (None while there are no positions), `teacher`,
        `tokenizer`, `complete`. `kept_mass` is the mean probability that is stored rather than
        drawn or left out: of the head for `sampled`, of all entries for `top_k`, 1.0 where
            distributions are whole.

        For tokens also `vocabulary_size`, `encoding`; for `sampled` and `top_k` `mean_head` and
        `mean_tail`, the entries of a position; for `hidden` `output_bytes`, the size of the output
        matrix. With samples, `samples`: for each a dict of `example_id`, `position`,
        `entropy_nats`, and of `head` and `tail`, lists of the first entries as
        `{"id", "text", "prob"}`.

    Raises:
        TargetsIncomplete: There is no store.
        TargetsCorrupt: A part is missing or damaged.
        TargetsError: It has another format version.
    """
    if isinstance(path, TargetStore):
        folder, manifest, index = path.path, path.manifest, path.index
    else:
        folder = Path(path)
        manifest, index = read_index(folder, read_manifest(folder))
    encoder = encoder_of(folder, manifest)
    if index.broken:
        raise TargetsCorrupt(f"{'; '.join(index.broken)}. {advice(folder)}")
    positions, sums = manifest.positions, dict[str, float]()
    for part in index.parts:
        for values in _decoded(part):
            for name, numbers in encoder.measures(values).items():
                sums[name] = sums.get(name, 0.0) + float(np.sum(numbers, dtype=np.float64))
    means = {name: total / positions for name, total in sums.items()} if positions else {}
    facts: dict[str, Any] = {
        "kind": manifest.kind,
        "rows": manifest.rows,
        "positions": positions,
        "bytes": manifest.bytes,
        "bytes_per_position": manifest.bytes / positions if positions else None,
        "mean_entropy_nats": means.pop("entropy_nats", None),
        "kept_mass": means.pop("kept_mass", None),
        "teacher": manifest.teacher,
        "tokenizer": manifest.tokenizer,
        "complete": manifest.complete,
    }
    if manifest.kind != "class_probabilities":
        facts |= {"vocabulary_size": manifest.vocabulary_size, "encoding": dict(manifest.encoding)}
        facts |= {f"mean_{name}": mean for name, mean in means.items()}
    if manifest.kind == "hidden":
        facts["output_bytes"] = (folder / OUTPUT_FILE).stat().st_size
    if samples:
        facts["samples"] = _samples(index.parts, decode, samples, seed)
    return facts


def _decoded(part: LoadedPart) -> Iterator[Any]:
    """All targets of a part, some rows at a time."""
    for rows in batches(part.elements, rows=_ROWS_AT_A_TIME):
        yield part.decode(rows)


def _samples(
    parts: tuple[LoadedPart, ...],
    decode: Callable[[list[int]], str] | None,
    samples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Positions of documents drawn at random, as people read them."""
    chance, shown = np.random.default_rng(seed), []
    ends = np.cumsum([len(part.ids) for part in parts])
    for place in chance.permutation(ends[-1] if len(ends) else 0):
        if len(shown) == samples:
            break
        owner = int(np.searchsorted(ends, place, side="right"))
        row = int(place - ends[owner] + len(parts[owner].ids))
        value = parts[owner].decode(np.array([row]))[0]
        if not isinstance(value, SparseTargets) or not len(value):
            continue
        position = int(chance.integers(len(value)))
        start = int(value.counts[:position].sum(dtype=np.int64))
        middle, end = start + int(value.heads[position]), start + int(value.counts[position])
        shown.append(
            {
                "example_id": from_ids(parts[owner].ids[row : row + 1])[0].hex(),
                "position": position,
                "entropy_nats": float(value.entropies[position]),
                "head": _entries(value, slice(start, middle), decode),
                "tail": _entries(value, slice(middle, end), decode),
            }
        )
    return shown


def _entries(
    value: SparseTargets, here: slice, decode: Callable[[list[int]], str] | None
) -> list[dict[str, Any]]:
    ids: NDArray[np.int32] = value.ids[here][:_SHOWN_ENTRIES]
    probs = np.exp(value.logprobs[here].astype(np.float64))[:_SHOWN_ENTRIES]
    return [
        {
            "id": int(number),
            "text": None if decode is None else decode([int(number)]),
            "prob": float(prob),
        }
        for number, prob in zip(ids, probs, strict=True)
    ]


def jsonl_lines(path: Path | str) -> Iterator[str]:
    """Each row of a store as one line of JSON without its line feed, in order of content id; see
    `export_jsonl`.
    """
    store = TargetStore.open(path, allow_incomplete=True)
    encoder = encoder_of(store.path, store.manifest)
    for names in store.batches():
        for name, value in zip(names, store.lookup(names), strict=True):
            record = {"example_id": name.hex(), **encoder.as_json(value)}
            yield json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def export_jsonl(path: Path | str, out: Path | str) -> int:
    """Write a store, finished or not, as JSON Lines: one object a row, in order of content id.

    Every object has `example_id` in hexadecimal digits. Beside it: for class probabilities `probs`,
    by label; for `sampled` and `top_k` `positions`, each with `entropy` in nats and lists `head`
    (and `tail`) of `[id, logprob]`; for `hidden` `entropies`, `scales` and `states`. Several times
    the size of the store.

    Args:
        path: Folder of the store.
        out: The file, which appears when it is whole.

    Returns:
        How many rows were written.

    Raises:
        TargetsIncomplete: There is no store.
        TargetsCorrupt: A part is missing or damaged.
        StorageError: The file cannot be written there; what was at `out` is still there.
    """
    out = Path(out)
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with (
        replacing(place_for(out)) as beside,
        beside.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for line in jsonl_lines(path):
            file.write(line + "\n")
            rows += 1
    return rows
