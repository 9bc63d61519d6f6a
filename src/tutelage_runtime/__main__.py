"""`python -m tutelage_runtime serve FOLDER`: the server without the rest of tutelage."""

from __future__ import annotations

import sys

USAGE = "usage: python -m tutelage_runtime serve FOLDER [FOLDER ...]   (serve --help tells more)"


def main() -> int:
    """Run one command and give its exit code."""
    word, *others = sys.argv[1:] or ["--help"]
    if word == "serve":
        from tutelage_runtime.serving.command import main as serve

        return serve(others)
    asked = word in ("-h", "--help")
    print(USAGE, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    raise SystemExit(main())
