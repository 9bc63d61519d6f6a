"""`release`: put versions of a student in service, go back to the one before, list them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tutelage_runtime.releases import Release

_LAYOUT = """Versions are kept in FOLDER/versions and never changed; FOLDER/current.json says which
one is in service. A server of FOLDER takes over the current one without dropping a request (with
--watch, or on SIGHUP)."""


def main(arguments: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words after `release`; None takes them from the process.
        program: What stands before them, for help.

    Returns:
        0 done, 2 wrong input.
    """
    from tutelage_runtime.releases import ReleaseError
    from tutelage_runtime.terminal import Parser, exit_code_of

    parser = Parser(prog=program or "tutelage-runtime release", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        return exit_code_of(lambda: run(options))
    except ReleaseError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Words that the command takes."""
    parser.epilog = _LAYOUT
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    step = steps.add_parser("promote", help="copy an exported student here and put it in service")
    step.add_argument("student", type=Path, help="folder that tutelage export wrote")
    step.add_argument("folder", type=Path, help="of versions")
    step.add_argument(
        "--uncertified",
        action="store_true",
        help="also without a certificate, as where no cascade needs one",
    )
    step.add_argument(
        "--shadow",
        type=Path,
        metavar="DIR",
        help="the --state of a server that it answered beside (serve --candidate): say what was "
        "found there",
    )
    step.add_argument(
        "--shadowed",
        type=int,
        metavar="N",
        help="refuse it with fewer answers compared there than N, or where it failed at a request",
    )
    step = steps.add_parser("rollback", help="put the version before in service again")
    step.add_argument("folder", type=Path, help="of versions")
    step.add_argument("--to", metavar="VERSION", help="this one [the one before the current]")
    step = steps.add_parser("list", help="what is in service, what was, what is there")
    step.add_argument("folder", type=Path, help="of versions")
    step.add_argument("--json", action="store_true", help="as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Do it; see `add_arguments`.

    Raises:
        ReleaseError: It cannot be done; what was in service stays so.
        BundleError: The folder is no exported student.
        OSError: The file system refuses.
    """
    from tutelage_runtime import releases

    if options.step == "list":
        _show(options.folder, as_json=options.json)
        return 0
    if options.step == "rollback":
        found = releases.roll_back(options.folder, to=options.to)
    else:
        if (
            not options.uncertified
            and not (options.student / releases.CERTIFICATE_FILES[0]).is_file()
        ):
            raise releases.ReleaseError(
                f"{options.student} has no certificate: tutelage certify makes one, or say "
                "--uncertified"
            )
        _require_shadowed(options)
        found = releases.promote(options.student, options.folder)
    sys.stdout.write(f"{found.version} is in service ({found.why})\n")
    return 0


def _require_shadowed(options: argparse.Namespace) -> None:
    """Say what was found of a candidate beside the student in service; refuse what is too little.

    What it was compared with besides, which is not in service any more, counts for nothing. Where
    none is yet, every student counts.

    Raises:
        ReleaseError: It was not seen enough, or failed.
    """
    from tutelage_runtime.bundle import read_bundle
    from tutelage_runtime.releases import ReleaseError, history
    from tutelage_runtime.shadowing import RecordError, read_record

    if options.shadow is None:
        if options.shadowed is not None:
            raise ReleaseError("--shadowed needs --shadow DIR, the --state of the server")
        return
    version = read_bundle(options.student).version
    try:
        record = read_record(options.shadow, version)
    except RecordError as error:
        raise ReleaseError(str(error)) from None
    past = history(options.folder)
    if record is not None and past:
        record = record.beside([past[-1].student])
    answers = 0 if record is None else record.answers
    if options.shadowed is not None and answers < options.shadowed:
        raise ReleaseError(
            f"{answers:,} answers of {version} were compared{_with(past)} ({options.shadow}), "
            f"{options.shadowed:,} are asked for: let it answer beside for longer (serve "
            "--candidate)"
        )
    if options.shadowed is not None and record is not None and record.failed:
        raise ReleaseError(f"{version} failed at {record.failed:,} requests: see the server's log")
    sys.stdout.write(f"{version}: {'was never a candidate' if record is None else record}\n")


def _with(past: Sequence[Release]) -> str:
    return f" with those of the upstream and of {past[-1].student}, in service now" if past else ""


def _show(folder: Path, *, as_json: bool) -> None:
    from tutelage_runtime import releases

    past, there = releases.history(folder), releases.versions(folder)
    if as_json:
        told = [{"version": one.version, "since": one.since, "why": one.why} for one in past]
        sys.stdout.write(json.dumps({"releases": told, "versions": there}) + "\n")
        return
    for one in past:
        mark = "*" if one is past[-1] else " "
        sys.stdout.write(f"{mark} {one.version}  {one.since}  {one.why}\n")
    in_service = {one.version for one in past}
    for version in there:
        if version not in in_service:
            sys.stdout.write(f"  {version}  never in service\n")
