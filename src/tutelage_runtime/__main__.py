"""The command line of the runtime: `python -m tutelage_runtime`, or `tutelage-runtime`.

Results go to stdout, what went wrong to stderr, in one line. Exit codes: 0 done, 1 failed, 2 wrong
input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("predicting", "answer texts with an exported student"),
}
"""The module of each command, within this package, and what it is for. A module has
`add_arguments(parser)` and `run(options) -> int`, and imports little before `run`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        arguments: Words after the program's name; None takes them from the process.
    """
    from tutelage_runtime.bundle import BundleError
    from tutelage_runtime.student import TextError

    options = _parser().parse_args(arguments)
    _adapt_streams()
    try:
        code: int = _module(options.command).run(options)
        sys.stdout.flush()
    except (BundleError, TextError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        told = " ".join(str(error).split())
        sys.stderr.write(f"error: {told}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tutelage-runtime", description="Exported students of tutelage at work, without torch."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for word, (_, purpose) in COMMANDS.items():
        _module(word).add_arguments(commands.add_parser(word, help=purpose, description=purpose))
    return parser


def _module(word: str) -> Any:
    return importlib.import_module(f"tutelage_runtime.{COMMANDS[word][0]}")


def _adapt_streams() -> None:
    """Let both streams take any text, whatever the terminal's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    raise SystemExit(main())
