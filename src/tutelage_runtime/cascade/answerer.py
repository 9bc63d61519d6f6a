"""The cascade: what a certificate lets a student say alone is answered here, the rest upstream.

Modes:

- `cascade`: requests whose every answer is sure get the student's; all others are forwarded
  unchanged, and so is a random share of the sure ones, to be compared (the audit).
- `shadow`: all are forwarded; what the students would have said is compared.
- `record`: all are forwarded and kept for the next student.

In: a request as it was read, and its bytes. Out: a reply of the students, or the upstream's
response. What students cannot be asked (an unknown question, an image) is forwarded too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage_runtime.cascade.audits import Audits
from tutelage_runtime.cascade.comparing import NO, YES, chosen
from tutelage_runtime.cascade.recording import Recorder
from tutelage_runtime.cascade.upstream import Upstream
from tutelage_runtime.certificate import Certificate
from tutelage_runtime.serving.answering import (
    Asked,
    Option,
    RawReply,
    RawRequest,
    Refusal,
    Reply,
    ServedQuestion,
)
from tutelage_runtime.student import Answers

Mode = Literal["cascade", "shadow", "record"]
AUDIT_SHARE = 0.02
"""Of the requests, where the certificate names none."""


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """What a student says to one question of a request."""

    student: ServedQuestion
    columns: tuple[int, ...]
    """Of each option in the student's answers; of a predicate the one of a yes."""
    options: tuple[Option, ...]
    """As the client has them; none of a predicate."""
    answers: Answers
    """To N texts."""

    @property
    def is_certified_event(self) -> bool:
        """Whether agreeing on this question is what certificates speak of: a yes to one of many
        labels is another event than the likeliest of all.
        """
        return bool(self.options) or len(self.student.labels) == 2

    def choices(self) -> list[int]:
        """The place of the likeliest option for each text, [N]."""
        probs = self.answers.probs[:, list(self.columns)]
        if not self.options:
            return [YES if prob >= 0.5 else NO for prob in probs[:, 0].tolist()]
        return probs.argmax(axis=1).tolist()


class Students(Protocol):
    """The students that a cascade asks."""

    @property
    def served(self) -> Sequence[ServedQuestion]:
        """Their questions."""
        ...

    async def look_up(self, asked: Asked) -> Sequence[Local]:
        """Their answers to each question.

        Raises:
            Refusal: Nobody answers one of the questions, or too many texts wait.
        """
        ...

    def reply(self, found: Sequence[Local]) -> Reply:
        """These answers as a reply."""
        ...


class Watched(Protocol):
    """What is counted; metrics satisfy it."""

    def passed(self, *, by: str, why: str) -> None:
        """A request was answered: by whom, and why by them."""
        ...

    def compared(self, student: str, *, agreed: bool | None, sure: bool) -> None:
        """A student's answer was compared with the upstream's; None: that one said nothing."""
        ...

    def audited(self, student: str, *, e_value: float, broken: bool, worst: float) -> None:
        """Where a student's audit stands, and where it would if all that was missed had been
        disagreement.
        """
        ...

    def missed(self, student: str, *, why: str, sure: bool, worst: float) -> None:
        """A request was drawn for the audit, and the upstream did not answer it."""
        ...

    def waited(self, seconds: float) -> None:
        """The upstream has responded after so long."""
        ...


class Cascade:
    """Answers requests with students and an upstream; see the module.

    Args:
        students: Whom to ask here.
        upstream: Whom to ask there.
        mode: What to do with whom.
        certificates: By student version, as of now; a student without one is never alone.
        audits: Of their contracts.
        watched: Told what happens.
        recorder: Keeps what was forwarded; None: nobody does.
        audit_seconds: How long a client waits for the upstream's answer to a sure request that is
            audited. Then it gets the student's, and the comparison comes with the upstream's, for
            which `upstream` has its own time.
        draw: Uniform numbers from 0 to 1 that decide what is audited.
        tell: Told what went wrong inside, where clients do not notice it.
    """

    def __init__(
        self,
        students: Students,
        upstream: Upstream,
        *,
        mode: Mode,
        certificates: Mapping[str, Certificate],
        audits: Audits,
        watched: Watched,
        recorder: Recorder | None = None,
        audit_seconds: float = 10.0,
        draw: Callable[[], float] = random.random,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._students, self._upstream = students, upstream
        self.mode, self.certificates, self.audits = mode, certificates, audits
        self._watched, self._recorder, self._draw = watched, recorder, draw
        self._audit_seconds, self._tell = audit_seconds, tell
        self._late: set[asyncio.Task[RawReply]] = set()

    @property
    def served(self) -> Sequence[ServedQuestion]:
        """The questions of the students; all others are the upstream's."""
        return [replace(one, notice=self._notice(one)) for one in self._students.served]

    def _notice(self, one: ServedQuestion) -> str | None:
        """Where its questions are not answered here; None: they are."""
        if self.mode != "cascade":
            return f"Mode {self.mode}: the upstream answers everything."
        certificate = self.certificates.get(one.version)
        if certificate is None:
            return "It has no certificate: the upstream answers everything."
        if self.audits.of(certificate).broken:
            return (
                "Its contract is broken: it disagreed with the upstream more often than was "
                "promised. The upstream answers everything until it has a new certificate."
            )
        return None

    async def answer(self, asked: Asked, request: RawRequest) -> Reply | RawReply:
        """The students' reply where it is sure, else the upstream's response.

        Raises:
            Refusal: The upstream is needed and cannot be reached.
        """
        if self.mode == "record":
            return await self._forward(request, why="record", drawn=True)
        try:
            found = await self._students.look_up(asked)
            why = self._unsure(found)  # a gate of features that the student lacks raises
        except Refusal as refusal:
            return await self._forward(request, why=refusal.code)
        except Exception as error:  # a graph that fails is no reason to fail a client
            self._tell(f"a student failed ({type(error).__name__}: {error}): forwarded")
            return await self._forward(request, why="student_failed")
        if self.mode == "shadow":
            return await self._compared(asked, request, found, why="shadow")
        if why:
            if self._drawn(found):
                return await self._compared(asked, request, found, why=why)
            return await self._forward(request, why=why, found=found)
        if not self._drawn(found):
            return self._local(found, why="sure")
        return await self._audited(asked, request, found)

    async def _audited(
        self, asked: Asked, request: RawRequest, found: Sequence[Local]
    ) -> Reply | RawReply:
        """The upstream's response to a sure request, or the students' reply where that takes too
        long for the client; then it is compared when it comes.
        """
        work = asyncio.create_task(self._compared(asked, request, found, why="audit"))
        try:
            done, _ = await asyncio.wait([work], timeout=self._audit_seconds)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if not done:
            self._late.add(work)
            work.add_done_callback(self._ended)
            return self._local(found, why="audit_late")
        try:
            response = work.result()
        except Refusal:
            response = None
        if response is not None and response.status == 200:
            self._watched.passed(by="upstream", why="audit")
            return response
        return self._local(found, why="audit_failed")

    def _ended(self, work: asyncio.Task[RawReply]) -> None:
        self._late.discard(work)
        if work.cancelled():
            return
        error = work.exception()
        if error is not None and not isinstance(error, Refusal):
            self._tell(f"a late audit failed ({type(error).__name__}: {error})")

    async def close(self) -> None:
        """Close connections and files; audits under way are given up."""
        for work in tuple(self._late):
            work.cancel()
        await self._upstream.close()
        if self._recorder is not None:
            self._recorder.close()

    async def unread(self, refusal: Refusal, request: RawRequest) -> RawReply | None:
        """What students cannot read is the upstream's."""
        return await self._forward(request, why=refusal.code)

    def _local(self, found: Sequence[Local], *, why: str) -> Reply:
        self._watched.passed(by="student", why=why)
        return self._students.reply(found)

    async def _forward(
        self,
        request: RawRequest,
        *,
        why: str,
        found: Sequence[Local] = (),
        drawn: bool = False,
    ) -> RawReply:
        start = time.perf_counter()
        try:
            response = await self._upstream.forward(request)
        except Refusal as refusal:
            if why != "audit":
                self._watched.passed(by="nobody", why=refusal.code)
            raise
        self._watched.waited(time.perf_counter() - start)
        if why != "audit":  # else it is not said yet whose answer the client gets
            self._watched.passed(by="upstream", why=why)
        if self._recorder is not None:
            self._recorder.keep(request, response, why=why, drawn=drawn, students=_said(found))
        return response

    async def _compared(
        self, asked: Asked, request: RawRequest, found: Sequence[Local], *, why: str
    ) -> RawReply:
        """The upstream's response; how the students' answers differ from it is observed."""
        # Sure and unsure requests are waited for equally long, so that neither outweighs.
        try:
            response = await self._forward(request, why=why, found=found, drawn=True)
        except Refusal as refusal:
            self._miss(found, why=refusal.code)
            raise
        if response.status != 200:
            self._miss(found, why="upstream_status")
            return response
        try:
            self._compare(asked, request, found, response.body)
        except Exception as error:  # the client has its answer all the same
            self._tell(f"a response was not compared ({type(error).__name__}: {error})")
        return response

    def _compare(
        self, asked: Asked, request: RawRequest, found: Sequence[Local], body: bytes
    ) -> None:
        """Compare every answer, and observe one of each student.

        Answers within a request hang together, and the audit's bound is one for each observation
        given those before it: so each certificate bets once a request, on an answer that is drawn.
        """
        theirs = chosen(request.path, asked, [one.options for one in found], body)
        bets: dict[str, list[tuple[Local, bool, bool]]] = {}
        for one, said in zip(found, theirs, strict=True):
            for mine, other, alone in zip(
                one.choices(), said, self._sure(one).tolist(), strict=True
            ):
                agreed = None if other is None else mine == other
                self._watched.compared(one.student.name, agreed=agreed, sure=alone)
                if agreed is not None and one.is_certified_event:
                    bets.setdefault(one.student.version, []).append((one, agreed, alone))
        self._miss([one for one in found if one.student.version not in bets], why="unanswered")
        for units in bets.values():
            place = min(int(self._draw() * len(units)), len(units) - 1)
            self._observe(*units[place])

    def _observe(self, one: Local, agreed: bool, sure: bool) -> None:
        certificate = self.certificates.get(one.student.version)
        if certificate is None or (certificate.over == "answered" and not sure):
            return
        name = one.student.name
        self.audits.observe(certificate, sure and not agreed, name=name)
        audit = self.audits.of(certificate)
        worst = self.audits.worst(certificate)
        self._watched.audited(name, e_value=audit.e_value, broken=audit.broken, worst=worst)

    def _miss(self, found: Sequence[Local], *, why: str) -> None:
        """Count drawn requests that the upstream did not answer; the worst is assumed of them in a
        second test, which decides nothing.
        """
        for version in dict.fromkeys(one.student.version for one in found):
            certificate = self.certificates.get(version)
            ours = [one for one in found if one.student.version == version]
            certified = [one for one in ours if one.is_certified_event]
            if certificate is None or not certified:
                continue
            sure = any(self._sure(one).any() for one in certified)
            if certificate.over == "answered" and not sure:
                continue
            worst = self.audits.miss(certificate, sure)
            self._watched.missed(ours[0].student.name, why=why, sure=sure, worst=worst)

    def _unsure(self, found: Sequence[Local]) -> str | None:
        """Why a request is not the students' to answer; None: it is."""
        for one in found:
            certificate = self.certificates.get(one.student.version)
            if certificate is None:
                return "no_certificate"
            if self.audits.of(certificate).broken:
                return "contract_broken"
            if not one.is_certified_event:
                return "not_certified"
        return None if all(self._sure(one).all() for one in found) else "unsure"

    def _sure(self, one: Local) -> NDArray[np.bool_]:
        """Which of a student's answers may stand alone, [N]."""
        certificate = self.certificates.get(one.student.version)
        if certificate is None:
            return np.zeros(len(one.answers.probs), dtype=bool)
        return certificate.sure(one.answers.probs, one.answers.features)

    def _drawn(self, found: Sequence[Local]) -> bool:
        """Whether a request is audited; by chance alone, whatever the students say."""
        shares = [
            float(certificate.audit.get("share", AUDIT_SHARE))
            for one in found
            if (certificate := self.certificates.get(one.student.version)) is not None
        ]
        return bool(shares) and self._draw() < max(shares)


def _said(found: Sequence[Local]) -> list[dict[str, object]]:
    """What students would have said, for the record."""
    return [
        {
            "name": one.student.name,
            "version": one.student.version,
            "probs": [[round(prob, 6) for prob in row] for row in one.answers.probs.tolist()],
        }
        for one in found
    ]
