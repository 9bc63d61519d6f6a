"""Many requests at once, and the replies as they come.

The event loop has a thread of its own; whoever iterates over `ask_all` stays an ordinary function.
When something ends the work (a budget, a server that is gone, Ctrl-C), no request is begun any
more, and those under way, which are paid, are waited for.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

GRACE_SECONDS = 20.0
"""That requests under way are waited for after Ctrl-C."""
_LOOK_SECONDS = 0.2


class Stop(Exception):
    """Raised in a worker to end the work in an orderly way; its cause is raised to the caller."""


class _Crew(Generic[Item, Found]):
    """Workers in an event loop in a thread, and what they find."""

    def __init__(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Awaitable[Found]],
        *,
        workers: int,
        opened: Callable[[], Awaitable[None]],
        closed: Callable[[], Awaitable[None]],
        each_second: Callable[[], None],
    ) -> None:
        self._items = iter(items)
        self._work = work
        self._workers = workers
        self._opened, self._closed, self._each_second = opened, closed, each_second
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._found: deque[Found] = deque()
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="tutelage-asking", daemon=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # raised again where the caller sees it
            self.error = self.error or error
        finally:
            self.done.set()

    async def _all(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        clock = asyncio.create_task(self._tick())
        try:
            await self._opened()
            await asyncio.gather(*(self._one() for _ in range(self._workers)))
        finally:
            clock.cancel()
            await self._closed()

    async def _one(self) -> None:
        """Take one item after another until there are none, or somebody has stopped."""
        while not self._stopping and (item := next(self._items, None)) is not None:
            try:
                self._found.append(await self._work(item))
            except Exception as error:
                self._stopping = True
                self.error = self.error or error

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await asyncio.to_thread(self._each_second)
            except Exception as error:
                self._stopping = True
                self.error = self.error or error
                return

    def taken(self) -> list[Found]:
        """What was found since the last time."""
        return [self._found.popleft() for _ in range(len(self._found))]

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True

    def cancel(self) -> None:
        """Give up what is under way."""
        if self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._main.cancel)


def ask_all(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Found]],
    *,
    workers: int,
    opened: Callable[[], Awaitable[None]],
    closed: Callable[[], Awaitable[None]],
    each_second: Callable[[], None],
    waiting: Callable[[], Any] = lambda: None,
) -> Generator[list[Found], None, None]:
    """Work on items, so many at a time.

    Args:
        items: What to work on, taken one by one.
        work: Done for each, in an event loop; what it raises ends the work.
        workers: How many items are in work at once.
        opened: Awaited in the loop before the first item.
        closed: Awaited in the loop at the end, however it comes.
        each_second: Called about once a second, in a thread.
        waiting: Called where an interruption is waited out, to say so.

    Yields:
        What was found since the last time, in the order in which it came; perhaps nothing.

    Raises:
        Exception: What `work` raised first, after everything under way has come in.
    """
    crew = _Crew(
        items, work, workers=workers, opened=opened, closed=closed, each_second=each_second
    )
    crew.thread.start()
    try:
        ended = False
        while not ended:  # now and then: to be woken by each would cost the event loop its time
            ended = crew.done.wait(_LOOK_SECONDS)
            yield crew.taken()
    finally:
        crew.stop()
        if crew.thread.is_alive():
            waiting()
            try:
                crew.thread.join(GRACE_SECONDS)
            finally:
                crew.cancel()
                crew.thread.join()
    if crew.error is not None:
        raise crew.error
