"""Commands of a terminal: what goes wrong is one line on stderr, and an exit code.

0 done, 1 failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


def parse(parser: Parser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The words as options. Texts (`text`) may also come after an option, which argparse alone
    refuses; whatever comes after `--` is no option.

    Args:
        parser: Of the command.
        arguments: Words after the program's name; None takes them from the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    place = words.index("--") if "--" in words else len(words)
    options, left = parser.parse_known_args(words[:place])
    if hasattr(options, "text"):
        options.text += [word for word in left if not word.startswith("-")] + words[place + 1 :]
        left = [word for word in left if word.startswith("-")]
    elif words[place:]:
        left = [*left, *words[place:]]
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command; texts of any characters can be written to both streams.

    Args:
        command: Does it and gives its exit code.

    Returns:
        The exit code, also where it raised something that input or files cause.
    """
    from tutelage_runtime.bundle import BundleError
    from tutelage_runtime.student import TextError

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    try:
        code = command()
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (BundleError, TextError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return code
