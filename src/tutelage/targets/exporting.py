"""A store as lines of JSON, for programs that would rather not read Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tutelage.runs import sync_folder
from tutelage.targets.reader import TargetStore, encoder_of

_ROWS_AT_A_TIME = 256


def jsonl_lines(path: Path | str) -> Iterator[str]:
    """Each row of a store as one line of JSON without its line feed, in order of content id; see
    `export_jsonl`.
    """
    store = TargetStore.open(path, allow_incomplete=True)
    encoder, ids = encoder_of(store.path, store.manifest), store.ids
    for start in range(0, len(ids), _ROWS_AT_A_TIME):
        names = ids[start : start + _ROWS_AT_A_TIME]
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
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside, rows = out.with_name(f".{out.name}.{os.getpid()}.tmp"), 0
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            for line in jsonl_lines(path):
                file.write(line + "\n")
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(out.parent)
    return rows
