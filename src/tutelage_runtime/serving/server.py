"""The process: a socket, signals, reloads, and an end in which nothing is lost.

- SIGTERM, SIGINT: `/ready` says no, no more connections are taken, replies close theirs, what is
  under way is finished within a time; exit 0. A second one ends at once.
- SIGHUP: every student is loaded anew beside the old one, tried, and takes over; one that cannot
  serve is refused and the old ones stay. With `watch` this also happens by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import prometheus_client
import uvicorn

from tutelage_runtime.bundle import STUDENT
from tutelage_runtime.releases import CURRENT
from tutelage_runtime.serving.answering import ClosingAnswerer
from tutelage_runtime.serving.app import App
from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.logs import LibraryHandler, Log, json_log, told
from tutelage_runtime.serving.matching import Predicate
from tutelage_runtime.serving.metrics import Metrics
from tutelage_runtime.serving.options import Options
from tutelage_runtime.serving.students import Load, Source, Students, load_folder

LINGER_SECONDS = 0.5
"""For which connections that are kept alive may still bring a request after SIGTERM."""
SETTLED_SECONDS = 2.0
"""After a reload, until requests that the old students began with are answered."""
WATCH_SECONDS = 1.0
"""Between looks at `student.json`, or at `current.json` of a folder of versions."""
Around = Callable[[Students, Metrics, Log], ClosingAnswerer]
"""Makes the answerer of a server around its students: a cascade."""


def run(
    options: Options,
    sources: Sequence[Source],
    *,
    predicates: Mapping[str, Predicate] | None = None,
    load: Load = load_folder,
    around: Around | None = None,
    log: Log | None = None,
) -> int:
    """Serve until a signal comes.

    Args:
        options: How.
        sources: Folders of exported students.
        predicates: What a yes to certain instructions means.
        load: Makes a student of a folder.
        around: Makes what answers of the students; None: they answer themselves.
        log: Where lines go; None: JSON on stderr.

    Returns:
        0, the exit code.

    Raises:
        ServeError: It cannot start.
    """
    log = json_log() if log is None else log
    # Batches are small, and waking threads for a part of one takes longer than the part.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    prometheus_client.disable_created_metrics()  # one series more for each, which nobody asks for
    server = Server(options, sources, predicates=predicates, load=load, around=around, log=log)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())
    return 0


class Server:
    """A server of students; `run` makes one and waits for it."""

    def __init__(
        self,
        options: Options,
        sources: Sequence[Source],
        *,
        predicates: Mapping[str, Predicate] | None = None,
        load: Load = load_folder,
        around: Around | None = None,
        log: Log,
    ) -> None:
        self._options, self._sources, self._log = options, tuple(sources), log
        self._predicates, self._load, self._around = predicates, load, around
        self._metrics = Metrics()
        self._tasks: set[asyncio.Task[None]] = set()
        self._students: Students | None = None
        self._app: App | None = None
        self.config = uvicorn.Config(
            self._application,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=options.connections,
            timeout_keep_alive=options.keep_alive_seconds,
            timeout_graceful_shutdown=options.shutdown_seconds,
        )
        self._uvicorn = uvicorn.Server(self.config)
        # Its own handlers would end the process with the signal; ours are below.
        self._uvicorn.capture_signals = contextlib.nullcontext  # pyright: ignore[reportAttributeAccessIssue]
        self.port: int | None = None
        """The one that is listened at, as soon as it is."""

    async def _application(self, scope, receive, send) -> None:
        assert self._app is not None, "the application is made before the socket is"
        await self._app(scope, receive, send)

    async def serve(self) -> None:
        """Load, listen, answer, until told to stop.

        Raises:
            ServeError: A student cannot be served, or the address cannot be listened at.
        """
        start = time.perf_counter()
        handler = LibraryHandler(self._log)
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(handler)
        self._students = students = Students(
            self._sources,
            load=self._load,
            predicates=self._predicates,
            batch_texts=self._options.batch_texts,
            queue_texts=self._options.queue_texts,
            observer=self._metrics,
        )
        await students.start()
        around = None
        if self._around is not None:
            around = self._around(students, self._metrics, self._log)
        self._metrics.watch(lambda: students.served, lambda: students.waiting_texts)
        self._app = App(
            students if around is None else around,
            lambda: students.roster,
            self._options,
            metrics=self._metrics,
            log=self._log,
        )
        bound = listen(self._options.host, self._options.port)
        self.port = bound.getsockname()[1]
        self._on_signals()
        if self._options.watch:
            self._keep(self._watch())
        self._metrics.ready.set(1)
        self._log(
            "serving",
            url=f"http://{_in_url(self._options.host)}:{self.port}",
            students=[one.model for one in students.served],
            seconds=round(time.perf_counter() - start, 3),
        )
        try:
            await self._uvicorn.serve(sockets=[bound])
            state = self._uvicorn.server_state
            if state.tasks:  # which it has cancelled: they still say so to their clients
                await asyncio.wait(tuple(state.tasks), timeout=1)
            for connection in tuple(state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0)
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            students.close()
            if around is not None:
                await around.close()
            for name in ("uvicorn.error", "asyncio"):
                logging.getLogger(name).removeHandler(handler)
        self._log("stopped")

    def stop(self) -> None:
        """Stop taking requests, finish those under way, and end; a second time, end at once."""
        assert self._app is not None, "signals come after the application is made"
        if self._app.draining:
            self._uvicorn.force_exit = self._uvicorn.should_exit = True
            return
        self._app.draining = True
        self._metrics.ready.set(0)
        self._log("draining")
        for listener in getattr(self._uvicorn, "servers", ()):
            listener.close()
        loop = asyncio.get_running_loop()
        loop.call_later(LINGER_SECONDS, setattr, self._uvicorn, "should_exit", True)

    async def reload(self) -> bool:
        """Load every student anew; whether another serves now."""
        assert self._students is not None, "signals come after students are made"
        try:
            changed = await self._students.reload()
        except ServeError as error:
            self._metrics.reloaded("refused")
            self._log("reload_refused", level="error", message=str(error))
            return False
        except Exception as error:
            self._metrics.reloaded("refused")
            self._log("reload_refused", level="error", **told(error))
            return False
        self._metrics.reloaded("done" if changed else "unchanged")
        self._log("reloaded", students=[one.model for one in changed])
        asyncio.get_running_loop().call_later(SETTLED_SECONDS, give_memory_back)
        return bool(changed)

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        wanted: dict[str, Callable[[], object]] = {
            "SIGTERM": self.stop,
            "SIGINT": self.stop,
            "SIGHUP": lambda: self._keep(self._reload()),
        }
        for name, act in wanted.items():
            number = getattr(signal, name, None)
            if number is None:  # SIGHUP, on Windows
                continue
            try:
                loop.add_signal_handler(number, act)
            except (NotImplementedError, RuntimeError, ValueError):
                # Windows, and a server in a thread, which whoever started it stops.
                with contextlib.suppress(ValueError):
                    signal.signal(number, lambda *_, act=act: loop.call_soon_threadsafe(act))

    def _keep(self, work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        await self.reload()

    async def _watch(self) -> None:
        """Reload whenever a folder has another `student.json`, once it has been so for a while."""
        known = seen = self._signatures()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = self._signatures()
            if now != known and now == seen and None not in now:
                known = now
                await self.reload()
            seen = now

    def _signatures(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(
            one
            for source in self._sources
            for one in (_signature(source.folder / CURRENT) or _signature(source.folder / STUDENT),)
        )


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def give_memory_back() -> None:
    """Let the system have what students that are gone have left in the allocator's pools; glibc
    keeps one for each thread, and does so by itself only at their ends.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # other systems have other allocators
        ctypes.CDLL(None).malloc_trim(0)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        ServeError: It cannot be.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ServeError(
            f"cannot listen at {host} port {port} ({error.strerror or error}): give a free one "
            "with --port, or 0 for any"
        ) from None
    bound.setblocking(False)
    return bound


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
