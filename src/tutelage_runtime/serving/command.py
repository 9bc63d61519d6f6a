"""`serve` on the command line: its words, and what they mean.

Only the standard library is imported until the words are understood.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage_runtime.cascade.options import add_words as add_cascade_words

if TYPE_CHECKING:
    from tutelage_runtime.serving.matching import Predicate
    from tutelage_runtime.serving.options import Options

SUMMARY = "serve exported students over HTTP, in the protocols of decision APIs"
DESCRIPTION = """\
Serve exported students over HTTP: POST /v1/decisions (OpenAI), POST /v1/systemone (TypeSafe) and
POST /classify (vLLM), a page to try them at /, and /health, /ready, /metrics, /openapi.json.

A client changes its base URL and nothing else. A student is found by what a question asks, its
labels and instructions, so that several may be served, one for each question.
"""
EPILOG = """\
examples:
  tutelage serve runs/NAME/students/lstm/export/onnx_int8
  tutelage serve runs/spam/students/gru/export/onnx topics=runs/topics/students/gru/export/onnx
  TOKEN=$(openssl rand -hex 32) tutelage serve FOLDER --host 0.0.0.0 --token-env TOKEN

  tutelage serve FOLDER --upstream https://api.openai.com/v1 --state STATE   # sure ones here

  curl http://127.0.0.1:8000/classify -H 'Content-Type: application/json' -d '{"input": "Great!"}'

signals:
  SIGTERM, SIGINT  finish what is under way, exit 0
  SIGHUP           load every student anew; a broken one is refused and the old one stays

exit codes: 0 stopped by a signal, 1 failed, 2 wrong input.
"""


def add_words(parser: argparse.ArgumentParser) -> None:
    """The words of `serve`."""
    parser.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="a folder that tutelage export wrote, or of versions (tutelage release); NAME=FOLDER "
        "gives the student another name; none is needed with --mode record",
    )
    where = parser.add_argument_group("where, and for whom")
    where.add_argument(
        "--host", default="127.0.0.1", help="address to listen at [127.0.0.1: this machine alone]"
    )
    where.add_argument(
        "--port", type=_number(0, 65_535), default=8000, help="0 takes a free one [8000]"
    )
    where.add_argument(
        "--token-env",
        metavar="NAME",
        help="environment variable with the bearer token that clients must send",
    )
    where.add_argument(
        "--no-token",
        action="store_true",
        help="listen beyond this machine without a token, because a proxy in front asks for one",
    )
    where.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that the Host header may have besides those of loopback (may be repeated)",
    )
    what = parser.add_argument_group("what is answered")
    what.add_argument(
        "--predicates",
        type=Path,
        metavar="FILE.json",
        help='what a yes means: {"Is it spam?": "spam"}, or {"label": "spam", "student": NAME} '
        "where several students have the label",
    )
    what.add_argument(
        "--watch",
        action="store_true",
        help="load a student again by itself when its folder has another student.json",
    )
    what.add_argument(
        "--candidate",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a next student that answers all that is asked here too, once the reply is made, and "
        "is compared with it; --state keeps its record (may be repeated)",
    )
    add_cascade_words(parser)
    limits = parser.add_argument_group("limits")
    for word, most, default, meaning in (
        ("--body-bytes", 1 << 30, 1 << 20, "of one request; larger ones get 413"),
        ("--text-characters", 1 << 28, 100_000, "of one text"),
        ("--texts", 100_000, 256, "of one request to /classify"),
        ("--questions", 100_000, 400, "of one request"),
        ("--batch-texts", 100_000, 64, "that are answered in one call"),
        ("--queue-texts", 10_000_000, 1024, "that may wait for a student; more get 503"),
        ("--connections", 1_000_000, 1024, "open at a time; more get 503"),
        ("--body-seconds", 3_600, 10, "within which a body must have come; later ones get 408"),
        ("--shutdown-seconds", 3_600, 20, "for requests under way after SIGTERM"),
    ):
        limits.add_argument(
            word, type=_number(1, most), default=default, metavar="N", help=f"{meaning} [{default}]"
        )
    logs = parser.add_argument_group("log, as JSON lines on stderr")
    logs.add_argument("--quiet", action="store_true", help="no line for each request")
    logs.add_argument("--log-texts", action="store_true", help="texts in these lines [none are]")


def main(arguments: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Serve as the words say.

    Args:
        arguments: Words after `serve`; None takes them from the process.
        program: What stands before them, for help.

    Returns:
        0 stopped by a signal, 1 failed, 2 wrong input.
    """
    parser = argparse.ArgumentParser(
        prog=program or "tutelage-runtime serve",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_words(parser)
    return run(parser.parse_args(arguments))


def run(words: argparse.Namespace) -> int:
    """Serve as parsed words say, and say in one line what keeps a server from it."""
    from tutelage_runtime.serving.errors import ServeError

    try:
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        _say(
            f"{error.name} is not installed: pip install 'tutelage[serve]', or "
            "'tutelage-runtime[serve]' where the runtime is installed alone"
        )
        return 2
    from tutelage_runtime.cascade import options as cascade
    from tutelage_runtime.serving.server import run as serve
    from tutelage_runtime.serving.students import Source

    try:
        options = options_of(words)
        shared = cascade.options_of(words, has_token=options.token is not None)
        if not words.folders and (shared is None or shared.mode != "record"):
            raise ServeError("name a folder that tutelage export wrote, such as export/onnx")
        around = None if shared is None else cascade.around(shared)
        if words.candidate:
            from tutelage_runtime.cascade import candidates

            around = candidates.around(words.candidate, around, state=words.state)
        with cascade.holding(words.state):
            return serve(
                options,
                [Source.read(word) for word in words.folders],
                predicates=read_predicates(words.predicates),
                around=around,
            )
    except ServeError as error:
        _say(str(error))
        return 2


def options_of(words: argparse.Namespace) -> Options:
    """The words as options.

    Raises:
        ServeError: They contradict each other.
    """
    from tutelage_runtime.serving.limits import Limits
    from tutelage_runtime.serving.options import Options, token_of

    limits = replace(
        Limits(),
        body_bytes=words.body_bytes,
        text_characters=words.text_characters,
        texts=words.texts,
        questions=words.questions,
        body_seconds=float(words.body_seconds),
    )
    return Options(
        host=words.host,
        port=words.port,
        token=None if words.token_env is None else token_of(words.token_env),
        no_token=words.no_token,
        allowed_hosts=tuple(words.allow_host),
        limits=limits,
        batch_texts=words.batch_texts,
        queue_texts=words.queue_texts,
        connections=words.connections,
        shutdown_seconds=words.shutdown_seconds,
        watch=words.watch,
        log_requests=not words.quiet,
        log_texts=words.log_texts,
    )


def read_predicates(path: Path | None) -> dict[str, Predicate]:
    """What a yes to certain instructions means, from a file.

    Raises:
        ServeError: It cannot be read, or says something else.
    """
    from tutelage_runtime.serving.errors import ServeError
    from tutelage_runtime.serving.matching import Predicate

    if path is None:
        return {}
    try:
        values = json.loads(path.read_text("utf-8"))
        found = {}
        for said, meant in values.items():
            fields = {"label": meant} if isinstance(meant, str) else dict(meant)
            found[said] = Predicate(**fields)
            if not all(isinstance(one, str) for one in fields.values()):
                raise TypeError("a label and a student are strings")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ServeError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it should be JSON like "
            '{"Is it spam?": "spam"}'
        ) from None
    return found


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(word: str) -> int:
        if word.isascii() and word.isdigit() and len(word) < 20 and least <= int(word) <= most:
            return int(word)
        raise argparse.ArgumentTypeError(
            f"{word[:60]!r} is no whole number from {least:,} to {most:,}"
        )

    return read


def _say(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
