"""Everything that can be chosen about a cascade, on the command line and in code.

Only the standard library is imported until a cascade is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from tutelage_runtime.cascade.answerer import Cascade
    from tutelage_runtime.certificate import Certificate
    from tutelage_runtime.serving.logs import Log
    from tutelage_runtime.serving.metrics import Metrics
    from tutelage_runtime.serving.students import Students

Mode = Literal["student", "cascade", "shadow", "record"]
AUDITS = "audits.json"
STATE_LOCK = "server.lock"


@dataclass(frozen=True, slots=True)
class CascadeOptions:
    """How students and an upstream share the work."""

    mode: Mode
    """See `answerer`."""
    upstream: str
    """Base URL of the service that is asked where the students are not."""
    upstream_key: str | None = field(default=None, repr=False)
    """Sent in place of the client's; None: the client's own goes on."""
    upstream_seconds: float = 60.0
    """For a whole response."""
    audit_seconds: float = 10.0
    """That a client may wait for the upstream's answer to a sure request that is audited."""
    certificates: tuple[Path, ...] = ()
    """Besides those that lie beside exported students."""
    state: Path | None = None
    """A folder where audits are kept over restarts; None: nowhere."""
    record: Path | None = None
    """A folder where forwarded traffic is kept; None: nowhere."""


def add_words(parser: argparse.ArgumentParser) -> None:
    """The words of a cascade on the command line of `serve`."""
    words = parser.add_argument_group("with the service that taught the students behind them")
    words.add_argument(
        "--upstream",
        metavar="URL",
        help="its base URL, such as https://api.openai.com/v1; what students do not answer goes "
        "there unchanged, with the client's key, and comes back byte for byte",
    )
    words.add_argument(
        "--mode",
        choices=get_args(Mode),
        help="student: no upstream; cascade: what certificates allow is answered here, the rest "
        "forwarded; shadow: all is forwarded and compared; record: all is forwarded and kept "
        "[cascade with --upstream, else student]",
    )
    words.add_argument(
        "--certificate",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="that tutelage certify wrote, where it does not lie in FOLDER (may be repeated)",
    )
    words.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="where audits, and the records of candidates, are kept over restarts; of one server",
    )
    words.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="keep forwarded requests and responses, texts included and keys not, for the next "
        "student (tutelage retrain)",
    )
    words.add_argument(
        "--upstream-key-env",
        metavar="NAME",
        help="environment variable with a key to send in place of the clients'",
    )
    words.add_argument(
        "--upstream-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="for a response of the upstream; then 504 [60]",
    )
    words.add_argument(
        "--audit-seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="that a client may wait for it in an audit, where the student is sure; then it gets "
        "the student's answer, and the upstream's is compared when it comes [10]",
    )


def options_of(
    words: argparse.Namespace, *, has_token: bool, environment: Mapping[str, str] = os.environ
) -> CascadeOptions | None:
    """The words as options; None where students answer alone.

    Args:
        words: Of the command line.
        has_token: Whether clients must send a token of this server.
        environment: Where keys are.

    Raises:
        ServeError: They contradict each other.
    """
    from tutelage_runtime.serving.errors import ServeError

    mode: Mode = words.mode or ("cascade" if words.upstream else "student")
    if mode == "student":
        if words.upstream:
            raise ServeError("--mode student asks no upstream: leave --upstream out, or the mode")
        return None
    if not words.upstream:
        raise ServeError(f"--mode {mode} needs --upstream URL")
    if mode == "record" and words.record is None:
        raise ServeError("--mode record needs --record DIR, where traffic is kept")
    key = None
    if words.upstream_key_env is not None:
        key = environment.get(words.upstream_key_env, "").strip()
        if not key:
            raise ServeError(f"the environment variable {words.upstream_key_env} is not set")
    elif has_token:
        raise ServeError(
            "clients send this server's token where the upstream's key would be: give "
            "--upstream-key-env NAME too"
        )
    if not words.upstream_seconds > 0:
        raise ServeError("--upstream-seconds must be above 0")
    if not words.audit_seconds > 0:
        raise ServeError("--audit-seconds must be above 0")
    return CascadeOptions(
        mode=mode,
        upstream=words.upstream,
        upstream_key=key,
        upstream_seconds=words.upstream_seconds,
        audit_seconds=words.audit_seconds,
        certificates=tuple(words.certificate),
        state=words.state,
        record=words.record,
    )


@contextmanager
def holding(state: Path | None) -> Iterator[None]:
    """Keep other servers from a folder of state: of two, each would write over what the other has
    seen. The system gives the folder free when the process ends, however it does.

    Raises:
        ServeError: Another server has it.
    """
    handle = None if state is None else _lock(state)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(state: Path) -> int | None:
    """An open file that holds the lock; None where the system or its files have no locks."""
    from tutelage_runtime.serving.errors import ServeError

    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = None
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / STATE_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        assert handle is not None, "only a lock is waited for"
        os.close(handle)
        raise ServeError(
            f"--state {state} is another server's: give each one of its own, or stop the other "
            "one first"
        ) from None
    except OSError:  # what cannot be written there is told when it is tried
        pass
    return handle


def around(options: CascadeOptions) -> Callable[[Students, Metrics, Log], Cascade]:
    """What makes a cascade of the students of a server; see `serving.server.run`.

    Raises:
        ServeError: The upstream is no URL, or what was kept of audits cannot be read.
    """
    from tutelage_runtime.audit import AuditError
    from tutelage_runtime.cascade.answerer import Cascade
    from tutelage_runtime.cascade.audits import Audits
    from tutelage_runtime.cascade.certified import CertifiedStudents
    from tutelage_runtime.cascade.metrics import CascadeMetrics
    from tutelage_runtime.cascade.recording import Recorder
    from tutelage_runtime.cascade.upstream import Upstream, UpstreamOptions
    from tutelage_runtime.serving.errors import ServeError

    assert options.mode != "student", "students alone are no cascade"
    mode = options.mode
    try:
        import aiohttp  # noqa: F401

        there = UpstreamOptions(
            url=options.upstream, seconds=options.upstream_seconds, key=options.upstream_key
        )
    except ImportError:
        raise ServeError("aiohttp is not installed: pip install 'tutelage[serve]'") from None
    except ValueError as error:
        raise ServeError(str(error)) from None

    def make(students: Students, metrics: Metrics, log: Log) -> Cascade:
        watched = CascadeMetrics(metrics.registry)
        try:
            state = None if options.state is None else options.state / AUDITS
            audits = Audits(state, tell=lambda said: log("audit", level="error", message=said))
            recorder = None
            if options.record is not None:
                recorder = Recorder(
                    options.record,
                    tell=lambda said: log("recording", level="error", message=said),
                )
                watched.record(lambda: not recorder.stopped)
        except (AuditError, OSError) as error:
            raise ServeError(str(error)) from None

        def changed(name: str, certificate: Certificate | None) -> None:
            watched.certified(name, certificate is not None)
            if certificate is not None:
                audit = audits.of(certificate)
                worst = audits.worst(certificate)
                watched.audited(name, e_value=audit.e_value, broken=audit.broken, worst=worst)

        certified = CertifiedStudents(
            students,
            given=options.certificates,
            tell=lambda said: log("certificate", level="warning", message=said),
            changed=changed,
        )
        certified.read()
        return Cascade(
            certified,
            Upstream(there),
            mode=mode,
            certificates=certified.certificates,
            audits=audits,
            watched=watched,
            recorder=recorder,
            audit_seconds=options.audit_seconds,
            tell=lambda said: log("cascade", level="error", message=said),
        )

    return make
