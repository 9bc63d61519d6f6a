"""`tutelage repair RUN` and `tutelage targets repair STORE`: their options, and what they show."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from tutelage.cli.streams import write_json, write_result
from tutelage.errors import RecipeError


def add_words(parser: argparse.ArgumentParser) -> None:
    """What `repair` is given."""
    parser.add_argument("folder", type=Path, help="a run folder")
    add_dry_run(parser)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """The option that both have."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only name what is damaged; nothing is changed"
    )


def repair(options: argparse.Namespace) -> int:
    """`tutelage repair`: exit 0 where the run is whole now, 1 where it is not."""
    from tutelage.cli.terminal import counted, progress_for
    from tutelage.recipes.repairing import repair_run

    found = repair_run(
        options.folder,
        dry_run=options.dry_run,
        progress=progress_for(quiet=options.quiet or options.json),
    )
    code = 1 if found.left else 0
    if options.json:
        write_json({**asdict(found), "run": str(found.run), "ok": not found.left})
        return code
    if not found.problems:
        write_result(f"{found.run}: every file is what it was; nothing to do")
        return 0
    for problem in found.problems:
        write_result(problem)
    if options.dry_run:
        write_result(f"Nothing was changed. To mend it: tutelage repair {found.run}")
    elif found.left:
        write_result(f"Still damaged: {counted(len(found.left), 'files')}. {_capital(found.why)}")
    elif found.done:
        write_result(f"Repaired. Done again: {', '.join(found.done)}")
    else:
        write_result("Repaired from the run's own records.")
    return code


def repair_store(options: argparse.Namespace) -> int:
    """`tutelage targets repair`: exit 0 where every part that is left is whole, 1 where not."""
    from tutelage.cli.terminal import counted
    from tutelage.targets.repairing import repair as repair_targets

    store = options.store
    run = store if (store / ".stages").is_dir() else store.parent
    if (run / ".stages").is_dir():
        raise RecipeError(
            f"{store} is part of the run {run}, which knows how to make it: tutelage repair {run}"
        )
    found = repair_targets(store, dry_run=options.dry_run)
    rows = sum(part.rows for part in found.parts)
    code = 1 if found.left else 0
    if options.json:
        files = [{"file": part.file, "rows": part.rows} for part in found.parts]
        record = {"store": str(store), "ok": not found.left, "problems": list(found.problems)}
        write_json(record | {"parts": files, "rows": rows, "left": list(found.left)})
        return code
    if not found.problems:
        write_result(f"{store}: every part matches its checksum; nothing to do")
        return 0
    for problem in found.problems:
        write_result(problem)
    those = f"{counted(rows, 'rows')} in {counted(len(found.parts), 'parts')}"
    if options.dry_run:
        write_result(f"{those} would be put aside. To do it: tutelage targets repair {store}")
    elif found.left:
        write_result(f"{those} put aside, and still damaged: {found.left[0]}")
    else:
        write_result(f"{those} put aside as PART.broken: label again, and only these are written")
    return code


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
