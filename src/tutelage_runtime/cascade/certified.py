"""The students of a server with their certificates, as a cascade asks them.

In: who serves now, and folders with certificates. Out: answers to look at before they are given,
and what may be given. When other students take over, their certificates are read before they
answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tutelage_runtime.cascade.answerer import Local
from tutelage_runtime.certificate import (
    CERTIFICATE,
    Certificate,
    CertificateError,
    read_certificate,
)
from tutelage_runtime.releases import ReleaseError, resolved
from tutelage_runtime.serving.answering import (
    Answered,
    Asked,
    Refusal,
    Reply,
    ServedQuestion,
)
from tutelage_runtime.serving.students import Roster, Served, Students


class CertifiedStudents:
    """Students and what they may say alone; belongs to one event loop.

    Args:
        students: Of the server.
        given: Certificates, or their folders, that people named; one beside an exported student
            need not be named.
        tell: Told which student has none, and which certificate cannot be read.
        changed: Told of every student which one it has.
    """

    def __init__(
        self,
        students: Students,
        *,
        given: Sequence[Path] = (),
        tell: Callable[[str], None] = lambda _: None,
        changed: Callable[[str, Certificate | None], None] = lambda *_: None,
    ) -> None:
        self._students, self._given = students, tuple(given)
        self._tell, self._changed = tell, changed
        self._roster: Roster | None = None
        self._reading = asyncio.Lock()
        self.certificates: dict[str, Certificate] = {}
        """By version of the student, those that were found."""

    @property
    def served(self) -> Sequence[ServedQuestion]:
        """See `answerer.Students`."""
        return self._students.served

    def read(self) -> None:
        """Read the certificates of those who serve now, before the first request comes."""
        self._take(self._students.roster)

    def _take(self, roster: Roster) -> None:
        found = self._read(roster)
        self.certificates.clear()
        self.certificates.update(found)
        self._roster = roster

    async def ready(self) -> Roster:
        """Who serves now, with all certificates read."""
        roster = self._students.roster
        if roster is not self._roster:
            async with self._reading:
                if roster is not self._roster:
                    await asyncio.to_thread(self._take, roster)
        return roster

    async def look_up(self, asked: Asked) -> Sequence[Local]:
        """See `answerer.Students`."""
        roster = await self.ready()
        for one in asked.questions:
            if one.kind == "classes":
                _require_named(asked.model, roster)
        matches = roster.matches(asked)
        found = await roster.answers(matches, asked.texts)
        return [
            Local(
                roster.students[match.student].asked,
                match.columns,
                match.options,
                found[match.student],
            )
            for match in matches
        ]

    def reply(self, found: Sequence[Local]) -> Reply:
        """See `answerer.Students`."""
        answers = tuple(
            Answered(
                one.options,
                one.answers.probs[:, list(one.columns)].tolist(),
                one.student.version,
            )
            for one in found
        )
        first, *others = dict.fromkeys(one.student.model for one in found)
        return Reply(answers, "+".join([first, *(one.removeprefix("tutelage/") for one in others)]))

    def _read(self, roster: Roster) -> Mapping[str, Certificate]:
        given = [self._given_one(path) for path in self._given]
        found: dict[str, Certificate] = {}
        for one in roster.students:
            named = [
                certificate
                for certificate in given
                if certificate is not None and certificate.student == one.asked.version
            ]
            certificate = named[-1] if named else self._beside(one)
            if certificate is not None and certificate.labels != one.asked.labels:
                self._tell(f"the certificate of {one.asked.name} is of other labels: not used")
                certificate = None
            if certificate is not None and certificate.against != "teacher":
                self._tell(
                    f"the certificate of {one.asked.name} promises agreement with labels, not with "
                    "the upstream: not used"
                )
                certificate = None
            if certificate is None:
                self._tell(
                    f"{one.asked.name} has no certificate: all its questions go upstream (tutelage "
                    "certify makes one)"
                )
            else:
                found[one.asked.version] = certificate
            self._changed(one.asked.name, certificate)
        return found

    def _given_one(self, path: Path) -> Certificate | None:
        try:
            return read_certificate(path)
        except (CertificateError, OSError) as error:
            self._tell(f"{error}")
            return None

    def _beside(self, one: Served) -> Certificate | None:
        """The certificate in the folder of an exported student."""
        try:
            folder = resolved(one.source.folder)
            if not (folder / CERTIFICATE).is_file():
                return None
            return read_certificate(folder, student=one.asked.version)
        except (CertificateError, ReleaseError, OSError) as error:
            self._tell(f"{error}")
            return None


def _require_named(model: str | None, roster: Roster) -> None:
    """Refuse a model that is none of the students: a question without words is told by it alone.

    Raises:
        Refusal: 404, so that the upstream answers.
    """
    name, _, _ = (model or "").removeprefix("tutelage/").partition("@")
    if model is not None and all(one.asked.name != name for one in roster.students):
        raise Refusal(404, "model_not_found", f"the model {name[:80]!r} is no student here")
