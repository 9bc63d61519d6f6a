"""Students of this machine as an `Answerer`: loaded, tried, matched, and changed while serving.

In: folders that `tutelage export` wrote. Out: replies. All that one request needs is one
`Roster`, which never changes; a reload makes another one beside it and puts it in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tutelage_runtime.bundle import BundleError
from tutelage_runtime.serving.answering import (
    Answered,
    Asked,
    RawReply,
    RawRequest,
    Refusal,
    Reply,
    ServedQuestion,
)
from tutelage_runtime.serving.batching import Batcher
from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.matching import Match, Predicate, Questions
from tutelage_runtime.student import Answering, Answers

FIRST_TEXT = "A first text."
"""What a student must answer before it serves."""
Load = Callable[[Path], tuple[str, Answering]]
"""A student and its name, from a folder; may raise `BundleError`."""


class Observer(Protocol):
    """Who is told what students do."""

    def batch(self, name: str, texts: int, seconds: float) -> None:
        """A student has answered so many texts in one call; from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where a student comes from."""

    folder: Path
    name: str | None = None
    """What it is called here; None: as in its run."""

    @classmethod
    def read(cls, word: str) -> Source:
        """`FOLDER` or `NAME=FOLDER`, as people write it."""
        name, equals, folder = word.partition("=")
        if equals and name and "/" not in name and not Path(word).exists():
            return cls(Path(folder), name)
        return cls(Path(word))


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A student that answers requests."""

    source: Source
    asked: ServedQuestion
    batcher: Batcher


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """Who serves at one time, and what they answer."""

    students: tuple[Served, ...]
    questions: Questions

    def matches(self, asked: Asked) -> list[Match]:
        """Who answers each question.

        Raises:
            Refusal: 404, nobody answers one of them.
        """
        return [self.questions.find(one, asked.model) for one in asked.questions]

    async def answers(self, matches: Sequence[Match], texts: Sequence[str]) -> dict[int, Answers]:
        """What each matched student says about the texts, by its place; each is asked once.

        Raises:
            Refusal: 503, too many texts wait.
        """
        places = list(dict.fromkeys(match.student for match in matches))
        if len(places) == 1:
            return {places[0]: await self.students[places[0]].batcher.answer(texts)}
        found = await asyncio.gather(
            *(self.students[place].batcher.answer(texts) for place in places)
        )
        return dict(zip(places, found, strict=True))

    def reply(self, matches: Sequence[Match], found: Mapping[int, Answers]) -> Reply:
        """The answers in the order of the options that were asked."""
        answered = tuple(
            Answered(
                match.options,
                _columns(found[match.student], match),
                self.students[match.student].asked.version,
            )
            for match in matches
        )
        return Reply(answered, self.model(matches))

    def model(self, matches: Sequence[Match]) -> str:
        """Who answers, as replies call it; several are joined by +."""
        if len(matches) == 1:
            return self.students[matches[0].student].asked.model
        names = [self.students[match.student].asked.model for match in matches]
        first, *others = dict.fromkeys(names)
        return "+".join([first, *(name.removeprefix("tutelage/") for name in others)])

    def named(self, name: str | None) -> Served:
        """A student by its name; None: the only one.

        Raises:
            Refusal: 404, there is none, or there are several.
        """
        for one in self.students:
            if name == one.asked.name or (name is None and len(self.students) == 1):
                return one
        names = ", ".join(one.asked.name for one in self.students[:8])
        raise Refusal(404, "model_not_found", f"name one of the students: {names}")


def _columns(answers: Answers, match: Match) -> list[list[float]]:
    """Probabilities of a match's options; Python's floats hold those of float32 exactly."""
    rows = answers.probs.tolist()
    columns = match.columns
    if columns == tuple(range(answers.probs.shape[1])):
        return rows
    return [[row[column] for column in columns] for row in rows]


def load_folder(folder: Path) -> tuple[str, Answering]:
    """An exported student and the name that it has in its run; of versions the current one."""
    from tutelage_runtime.releases import ReleaseError, resolved
    from tutelage_runtime.session import load

    try:
        student = load(resolved(folder))
    except ReleaseError as error:
        raise BundleError(str(error)) from None
    return student.bundle.name, student


class Students:
    """Answers requests with students of this machine, see `answering.Answerer`. Make it with
    `start`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        load: Load = load_folder,
        predicates: Mapping[str, Predicate] | None = None,
        batch_texts: int = 64,
        queue_texts: int = 1024,
        observer: Observer | None = None,
    ) -> None:
        self._sources, self._load = tuple(sources), load
        self._predicates = dict(predicates or {})
        self._batch_texts, self._queue_texts = batch_texts, queue_texts
        self._observer = observer
        self._reloading = asyncio.Lock()
        self._roster: Roster | None = None

    @property
    def roster(self) -> Roster:
        """Who serves now; take it once a request."""
        if self._roster is None:
            raise ServeError("no student is loaded yet: call start() first")
        return self._roster

    @property
    def served(self) -> Sequence[ServedQuestion]:
        """The questions that are answered now."""
        return [one.asked for one in self.roster.students]

    @property
    def waiting_texts(self) -> Mapping[str, int]:
        """Texts that wait or are under way, by student."""
        return {one.asked.name: one.batcher.waiting_texts for one in self.roster.students}

    async def start(self) -> None:
        """Load and try every student.

        Raises:
            ServeError: One cannot be served, or two answer the same question.
        """
        await self.reload()

    async def reload(self) -> Sequence[ServedQuestion]:
        """Load every student anew, try it, and let it take over; requests under way are answered
        by those whom they began with.

        Returns:
            Those that are other than before.

        Raises:
            ServeError: One cannot be served; nothing was changed.
        """
        async with self._reloading:
            old = () if self._roster is None else self._roster.students
            loaded = await asyncio.to_thread(
                lambda: [_tried(source, self._load) for source in self._sources]
            )
            asked = [one for _, one in loaded]
            questions = Questions(asked, self._predicates)
            before = {one.source: one for one in old}
            students = []
            for source, (student, one) in zip(self._sources, loaded, strict=True):
                kept = before.get(source)
                same = kept is not None and kept.asked == one
                students.append(kept if same else Served(source, one, self._batcher(one, student)))
            self._roster = Roster(tuple(students), questions)
            for one in old:
                if one not in students:
                    one.batcher.close()
            return [one.asked for one in students if one not in old]

    def _batcher(self, one: ServedQuestion, student: Answering) -> Batcher:
        observer = self._observer
        return Batcher(
            student,
            batch_texts=self._batch_texts,
            queue_texts=self._queue_texts,
            observe=None
            if observer is None
            else lambda texts, seconds: observer.batch(one.name, texts, seconds),
        )

    async def answer(self, asked: Asked, request: RawRequest) -> Reply:  # noqa: ARG002
        """See `Answerer`."""
        roster = self.roster
        matches = roster.matches(asked)
        return roster.reply(matches, await roster.answers(matches, asked.texts))

    async def unread(self, refusal: Refusal, request: RawRequest) -> RawReply | None:  # noqa: ARG002
        """See `Answerer`; students can do nothing about it."""
        return None

    def close(self) -> None:
        """Let the threads end."""
        for one in self.roster.students:
            one.batcher.close()


def _tried(source: Source, load: Load) -> tuple[Answering, ServedQuestion]:
    """A student that has answered a first text, and its question."""
    try:
        name, student = load(source.folder)
        question = student.question
        probs = np.asarray(student.answer([FIRST_TEXT]).probs)
    except BundleError as error:
        raise ServeError(str(error)) from error
    except Exception as error:
        raise ServeError(
            f"{source.folder} cannot answer a text ({type(error).__name__}: {error}): export the "
            "student again"
        ) from error
    wanted = (1, len(question.labels))
    if probs.shape != wanted or not np.isfinite(probs).all() or abs(probs.sum() - 1) > 1e-3:
        raise ServeError(
            f"{source.folder} answers a text with {probs.tolist()}, not with probabilities of "
            f"its {wanted[1]} labels: export the student again"
        )
    return student, ServedQuestion(
        name=source.name or name,
        version=student.version,
        labels=tuple(question.labels),
        instructions=question.instructions,
        descriptions=dict(question.descriptions),
    )
