"""The audits of all students of a cascade, kept on disk so that a restart forgets nothing.

In: certificates and audited requests. Out: whether each student's contract still holds. A contract
that was found broken stays broken until the student has another certificate.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tutelage_runtime.audit import Audit, AuditError
from tutelage_runtime.certificate import Certificate

FORMAT = 1


class Audits:
    """One `Audit` for each certificate that was ever in use here.

    Args:
        path: The file; None keeps nothing, so that a restart begins anew.
        tell: Told when a contract is found broken, and when the file cannot be written.

    Raises:
        AuditError: The file is none of audits.
    """

    def __init__(self, path: Path | None, *, tell: Callable[[str], None] = lambda _: None) -> None:
        self._path, self._tell = path, tell
        self._audits: dict[str, Audit] = {}
        self._worst: dict[str, Audit] = {}
        self._unwritable = False
        if path is not None and path.exists():
            self._audits = _read(path)

    def of(self, certificate: Certificate) -> Audit:
        """The audit of a certificate, begun with its first use."""
        return _audit(self._audits, certificate)

    def miss(self, certificate: Certificate, sure: bool) -> float:
        """A drawn request has no answer to compare with: no observation of the audit, and a
        disagreement in the worst case, if the student would have answered it.

        Returns:
            See `worst`.
        """
        _audit(self._worst, certificate).observe(sure)
        return self.worst(certificate)

    def worst(self, certificate: Certificate) -> float:
        """The e-value if every missing answer was a disagreement, since the start of the process.
        It decides nothing; far above the audit's own it says that too much is missing to tell.
        """
        return _audit(self._worst, certificate).e_value

    def observe(self, certificate: Certificate, disagreed: bool, *, name: str) -> None:
        """Take an audited answer into account, and write all down.

        Args:
            certificate: Of the student.
            disagreed: Whether it would have answered, and otherwise than the upstream.
            name: Of the student, for what is told.
        """
        audit = self.of(certificate)
        was_broken = audit.broken
        audit.observe(disagreed)
        _audit(self._worst, certificate).observe(disagreed)
        if audit.broken and not was_broken:
            self._tell(
                f"the contract of {name} is broken: {audit.disagreed} disagreements in "
                f"{audit.observed} audited requests, {certificate.disagreement:.1%} promised "
                f"(e-value {audit.e_value:.0f}). It is not asked any more; all goes upstream until "
                "it has a new certificate"
            )
        self.save()

    def save(self) -> None:
        """Write all down; the file that was there stays whole until the new one is."""
        if self._path is None:
            return
        state = {
            "format": FORMAT,
            "audits": {key: one.state() for key, one in self._audits.items()},
        }
        try:
            _replace(self._path, json.dumps(state))
            self._unwritable = False
        except OSError as error:
            if not self._unwritable:
                self._unwritable = True
                self._tell(f"{self._path} cannot be written ({error.strerror}): a restart would "
                           "forget the audit")  # fmt: skip


def _audit(audits: dict[str, Audit], certificate: Certificate) -> Audit:
    key = str(certificate.values.get("sum"))
    if key not in audits:
        settings: Mapping[str, Any] = certificate.audit
        audits[key] = Audit(
            contract=certificate.disagreement, alpha=float(settings.get("alpha", 0.01))
        )
    return audits[key]


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, Audit]:
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}, expected {FORMAT}")
        return {str(key): Audit.restore(one) for key, one in values["audits"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AuditError(
            f"{path} is no file of audits ({type(error).__name__}: {error}): put it back from a "
            "copy, or certify the students again and remove it"
        ) from None
