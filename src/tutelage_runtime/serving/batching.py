"""Texts of concurrent requests are answered together.

In: texts of one request. Out: their `Answers`. One thread a student takes whatever waits, up to a
number of texts, and answers it in one call; while it does, more gather. So nothing waits for a
batch to fill: a request that comes alone is answered alone, at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

from tutelage_runtime.serving.answering import Refusal
from tutelage_runtime.student import Answering, Answers


@dataclass(slots=True, eq=False)
class _Waiting:
    texts: Sequence[str]
    answered: asyncio.Future[Answers]


class Batcher:
    """Answers for whoever asks, several at a time; belongs to one event loop.

    Args:
        student: Who answers.
        batch_texts: That are answered in one call, at most.
        queue_texts: That may wait or be under way, at most.
        observe: Is told the texts and seconds of every call, from the student's thread.
    """

    def __init__(
        self,
        student: Answering,
        *,
        batch_texts: int = 64,
        queue_texts: int = 1024,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        self.student = student
        self.waiting_texts = 0
        """That were given and are not yet answered."""
        self._batch_texts, self._queue_texts = batch_texts, queue_texts
        self._observe = observe
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="student", daemon=True)
        self._thread.start()

    async def answer(self, texts: Sequence[str]) -> Answers:
        """Answers for N texts.

        Raises:
            Refusal: 503, too many texts wait; after a second there may be room.
        """
        if self._closed:  # by a reload, while this request was under way
            return await asyncio.to_thread(self.student.answer, texts)
        if self.waiting_texts + len(texts) > self._queue_texts and self.waiting_texts:
            raise Refusal(
                503,
                "overloaded",
                f"{self.waiting_texts:,} texts wait already: send this again in a moment",
                headers={"Retry-After": "1"},
            )
        size = self._batch_texts
        parts = [
            _Waiting(texts[start : start + size], self._loop.create_future())
            for start in range(0, len(texts), size)
        ]
        self.waiting_texts += len(texts)
        for part in parts:
            self._queue.put(part)
        if len(parts) == 1:
            return await parts[0].answered
        found = await asyncio.gather(*(part.answered for part in parts))
        return Answers(
            np.concatenate([one.probs for one in found]),
            np.concatenate([one.features for one in found]),
        )

    def close(self) -> None:
        """Let the thread end when what waits has been answered."""
        self._closed = True
        self._queue.put(None)

    def _work(self) -> None:
        held: _Waiting | None = None
        while True:
            first = self._queue.get() if held is None else held
            held = None
            if first is None:
                return
            batch, size = [first], len(first.texts)
            while size < self._batch_texts:
                try:
                    further = self._queue.get_nowait()
                except Empty:
                    break
                if further is None:
                    self._queue.put(None)  # the end comes after this batch
                    break
                if size + len(further.texts) > self._batch_texts:
                    held = further
                    break
                batch.append(further)
                size += len(further.texts)
            self._answer(batch)

    def _answer(self, batch: list[_Waiting]) -> None:
        # Who has hung up needs no answer.
        wanted = [one for one in batch if not one.answered.cancelled()]
        results: list[tuple[_Waiting, Answers | BaseException]]
        try:
            results = list(zip(wanted, self._together(wanted), strict=True))
        except BaseException as error:
            # The text of one request must not spoil the others'.
            alone = len(wanted) == 1
            results = [(one, error if alone else self._alone(one)) for one in wanted]
        self._tell(batch, results)

    def _tell(
        self, batch: list[_Waiting], results: list[tuple[_Waiting, Answers | BaseException]]
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, batch, results)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._closed = True

    def _together(self, batch: list[_Waiting]) -> list[Answers]:
        if not batch:
            return []
        texts = [text for one in batch for text in one.texts]
        start = time.perf_counter()
        found = self.student.answer(texts)
        if self._observe is not None:
            self._observe(len(texts), time.perf_counter() - start)
        if len(batch) == 1:
            return [found]
        parts, begin = [], 0
        for one in batch:
            end = begin + len(one.texts)
            parts.append(Answers(found.probs[begin:end], found.features[begin:end]))
            begin = end
        return parts

    def _alone(self, one: _Waiting) -> Answers | BaseException:
        try:
            return self._together([one])[0]
        except BaseException as error:
            return error

    def _deliver(
        self, batch: list[_Waiting], results: list[tuple[_Waiting, Answers | BaseException]]
    ) -> None:
        self.waiting_texts -= sum(len(one.texts) for one in batch)
        for one, found in results:
            if one.answered.done():
                continue
            if isinstance(found, BaseException):
                one.answered.set_exception(found)
            else:
                one.answered.set_result(found)
