"""`tutelage targets`: look into a store of soft targets, verify it, put several together, turn one
into JSON Lines, put broken parts aside.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.cli.repairing import repair_store
from tutelage.cli.streams import write_json, write_json_line, write_result
from tutelage.cli.terminal import progress_for
from tutelage.errors import RecipeError, RunIncomplete, TargetsMismatch, TutelageError, one_line

SAMPLES = 3
"""Positions that `inspect` shows a person where it can spell their ids."""
_SHOWN_TAIL = 4


def targets(options: argparse.Namespace) -> int:
    """`tutelage targets inspect | verify | merge | export | repair`."""
    return ACTIONS[options.action](options)


def verify(options: argparse.Namespace) -> int:
    """`tutelage targets verify`: exit 1 and name each broken part."""
    from tutelage.targets import verify as verify_store

    path = _store(options.store)
    broken = verify_store(path)
    if options.json:
        write_json({"ok": not broken, "broken": broken})
    else:
        write_result("\n".join(broken) if broken else f"{path}: every part matches its checksum")
    return 1 if broken else 0


def inspect(options: argparse.Namespace) -> int:
    """`tutelage targets inspect`: numbers, and positions as a person reads them."""
    from tutelage.report.formats import plain_bytes
    from tutelage.targets import inspect as inspect_store
    from tutelage.targets import read_manifest

    path = _store(options.store)
    manifest, decode = read_manifest(path), None
    wanted = options.samples if options.samples is not None else 0 if options.json else SAMPLES
    if manifest.kind in ("sampled", "top_k") and wanted:
        decode = _decoder(options, manifest.tokenizer, quiet=options.quiet)
        if decode is None and options.samples is None:
            wanted = 0
    facts = inspect_store(path, decode=decode, samples=wanted)
    if options.json:
        write_json(facts)
        return 0
    samples = facts.pop("samples", [])
    for key, value in facts.items():
        shown = plain_bytes(value) if key in ("bytes", "output_bytes") else value
        shown = f"{value:,.3f}" if isinstance(value, float) else shown
        write_result(f"{key:<22} {one_line(str(shown))}")
    for sample in samples:
        write_result("\n" + _spelled(sample))
    return 0


def merge(options: argparse.Namespace) -> int:
    """`tutelage targets merge`: several stores of one teacher as one."""
    from tutelage.targets import merge as merge_stores

    progress = progress_for(quiet=options.quiet or options.json)
    store = merge_stores(
        [_store(source) for source in options.stores], options.out, progress=progress
    )
    facts = {
        "store": str(store.path),
        "rows": store.manifest.rows,
        "positions": store.manifest.positions,
    }
    if options.json:
        write_json(facts)
    else:
        write_result(f"{facts['rows']:,} rows, {facts['positions']:,} positions: {store.path}")
    return 0


def export(options: argparse.Namespace) -> int:
    """`tutelage targets export`: JSON Lines, to a file or to stdout."""
    from tutelage.targets import export_jsonl, jsonl_lines

    path = _store(options.store)
    if options.out is None:
        if options.json:
            raise RecipeError(
                "the rows themselves go to stdout: give --out FILE, or leave out --json"
            )
        for line in jsonl_lines(path):
            write_json_line(line)
        return 0
    rows = export_jsonl(path, options.out)
    if options.json:
        write_json({"out": str(options.out), "rows": rows})
    else:
        write_result(f"{rows:,} rows: {options.out}")
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "inspect": inspect,
    "verify": verify,
    "merge": merge,
    "export": export,
    "repair": repair_store,
}
"""Every word after `tutelage targets` and what it does."""


def _store(path: Path) -> Path:
    """The store that a person means by its folder or by that of a run.

    Raises:
        RunIncomplete: There is none.
    """
    store = path / "targets" if (path / "targets").is_dir() else path
    if not (store / "manifest.json").is_file():
        raise RunIncomplete(
            f"{store} holds no manifest.json, so it is no store of soft targets. Make one: "
            "tutelage label recipe.yaml"
        )
    return store


def _decoder(
    options: argparse.Namespace, fingerprint: str, *, quiet: bool
) -> Callable[[list[int]], str] | None:
    """Spells the ids of a store, if the tokenizer it was written for is known; one that differs is
    never used.

    Raises:
        TargetsMismatch: The tokenizer that was asked for is another one.
    """
    try:
        name, tokenizer = _tokenizer(options)
        if tokenizer is None:
            return None
        from tutelage.models import tokenizer_fingerprint

        found = tokenizer_fingerprint(tokenizer)
    except (TutelageError, ImportError) as error:
        if options.tokenizer:
            raise
        progress_for(quiet=quiet).say(f"Ids are not spelled: {error}")
        return None
    if found == fingerprint:
        return tokenizer.decode
    message = (
        f"{name} has tokenizer {found}, but the store was written for {fingerprint}, whose ids "
        "name other words"
    )
    if options.tokenizer:
        raise TargetsMismatch(f"{message}. Give the teacher's own: --tokenizer FOLDER")
    progress_for(quiet=quiet).say(f"Ids are not spelled: {message}")
    return None


def _tokenizer(options: argparse.Namespace) -> tuple[str, Any]:
    """The tokenizer that was asked for, or that of the teacher in the recipe of a run folder, with
    words for whose it is; None where there is none.
    """
    from tutelage.models import load_tokenizer
    from tutelage.recipes.loading import load_recipe
    from tutelage.teachers.spec import TokenAssignment

    if options.tokenizer:
        return options.tokenizer, load_tokenizer(options.tokenizer)
    inside = options.store / "recipe.yaml"
    if not inside.is_file():
        return "", None
    try:
        recipe: Any = load_recipe(inside)
    except RecipeError:
        return "", None
    teacher = recipe.teacher.spec()
    if not teacher.has_weights:
        return "", None
    # Only language models write targets of tokens; a store may have been put into another run.
    length = getattr(recipe.task, "sequence_length", None)
    if length is None:
        return "", None
    assignment = TokenAssignment(length)
    return f"the teacher of {inside}", teacher.tokenizer(assignment)


def _spelled(sample: dict[str, Any]) -> str:
    """One position: what is kept, and what was drawn."""
    lines = [
        f"position {sample['position']:,} of {sample['example_id'][:12]}...: entropy "
        f"{sample['entropy_nats']:.2f} nats"
    ]
    for side, shown in (("head", len(sample["head"])), ("tail", _SHOWN_TAIL)):
        entries = sample[side][:shown]
        words = "  ".join(f"{_word(entry)} {entry['prob']:.3f}" for entry in entries)
        if entries:
            lines.append(f"  {side}  {words}{'  ...' if len(sample[side]) > shown else ''}")
    return "\n".join(lines)


def _word(entry: dict[str, Any]) -> str:
    return (
        str(entry["id"]) if entry["text"] is None else json.dumps(entry["text"], ensure_ascii=False)
    )
