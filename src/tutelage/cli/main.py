"""The command line: one command, its exit code, and what went wrong in words.

Only the standard library is imported until a command has been chosen, so `tutelage --help` answers
at once. Results go to stdout, talk and progress to stderr. Exit codes: 0 done, 1 failed, 2 wrong
input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from tutelage.cli.parser import build_parser, parse
from tutelage.cli.streams import adapt_streams, write_result
from tutelage.processes import is_launched

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

QUIET_LIBRARIES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
"""Environment of the command line, unless the person set it otherwise: our own bars and messages
are enough."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        arguments: Words after the program's name; None takes them from the process.

    Returns:
        0 done, 1 failed, 2 wrong input, 130 interrupted.
    """
    adapt_streams()
    options = parse(build_parser(), arguments)
    if options.version:
        from importlib.metadata import version

        write_result(f"tutelage {version('tutelage')}")
        return EXIT_DONE
    if options.command is None:
        build_parser().print_help()
        return EXIT_DONE

    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    if is_launched():
        from tutelage.cli.launched import run_launched

        return run_launched(options, _run)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from tutelage.cli.commands import COMMANDS
    from tutelage.cli.remote import bring
    from tutelage.cli.terminal import explain, hush_threads, progress_for

    if not options.traceback:
        hush_threads()
    try:
        bring(options, progress=progress_for(quiet=options.quiet or options.json))
        return COMMANDS[options.command](options)
    except BaseException as error:
        if options.traceback or isinstance(error, SystemExit):
            raise
        return explain(error, command=options.command, as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
