"""The command line of the runtime: `python -m tutelage_runtime`, or `tutelage-runtime`.

Results go to stdout, what went wrong to stderr, in one line; exit codes are those of `terminal`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("predicting", "answer texts with an exported student"),
    "release": ("releasing", "put versions of a student in service, and roll back"),
    "serve": ("serving.command", "serve exported students over HTTP"),
}
"""The module of each command, within this package, and what it is for. Its function
`main(arguments) -> int` takes the words that follow and gives the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        arguments: Words after the program's name; None takes them from the process.
    """
    word, *others = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if word in COMMANDS:
        module, _ = COMMANDS[word]
        return importlib.import_module(f"tutelage_runtime.{module}").main(others)
    if word in ("-h", "--help"):
        lines = [f"  {one:10}{purpose}" for one, (_, purpose) in COMMANDS.items()]
        told = ["usage: tutelage-runtime COMMAND ...", "", *lines, ""]
        sys.stdout.write("\n".join([*told, "Each command tells more with --help.", ""]))
        return 0
    sys.stderr.write(
        f"error: there is no command {word!r}: expected one of {', '.join(COMMANDS)}\n"
    )
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
