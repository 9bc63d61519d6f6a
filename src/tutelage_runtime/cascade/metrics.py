"""What `/metrics` tells of a cascade, besides what the server tells.

tutelage_cascade_total{by, why}             requests, by who answered and why they did
tutelage_compared_total{student, outcome, sure}
                                            answers compared with the upstream's: `agreed`,
                                            `disagreed`, `unanswered`
tutelage_audit_evidence{student}            e-value against the contract; it is broken at 1 / alpha
tutelage_audit_missed_total{student, why, sure}
                                            drawn for it, and not answered by the upstream
tutelage_audit_evidence_worst{student}      the e-value, had all these been disagreements
tutelage_contract_broken{student}           1, where all goes upstream until a new certificate
tutelage_certified{student}                 1, where the student has a certificate
tutelage_upstream_seconds                   a whole response of the upstream
tutelage_recording                          1, while traffic is kept
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)


class CascadeMetrics:
    """Satisfies `answerer.Watched`.

    Args:
        registry: The server's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "tutelage_cascade", "Requests by who answered and why", ["by", "why"], registry=registry
        )
        self._compared = Counter(
            "tutelage_compared",
            "Answers compared with the upstream's",
            ["student", "outcome", "sure"],
            registry=registry,
        )
        self._evidence = Gauge(
            "tutelage_audit_evidence", "E-value of the audit", ["student"], registry=registry
        )
        self._worst = Gauge(
            "tutelage_audit_evidence_worst",
            "E-value of the audit, if what was missed was disagreement",
            ["student"],
            registry=registry,
        )
        self._missed = Counter(
            "tutelage_audit_missed",
            "Requests drawn for the audit that the upstream did not answer",
            ["student", "why", "sure"],
            registry=registry,
        )
        self._broken = Gauge(
            "tutelage_contract_broken", "Whether it is broken", ["student"], registry=registry
        )
        self._certified = Gauge(
            "tutelage_certified", "Whether there is a certificate", ["student"], registry=registry
        )
        self._upstream = Histogram(
            "tutelage_upstream_seconds",
            "Seconds of a response of the upstream",
            buckets=_SECONDS,
            registry=registry,
        )
        self._recording = Gauge("tutelage_recording", "Whether traffic is kept", registry=registry)

    def passed(self, *, by: str, why: str) -> None:
        """See `Watched`."""
        self._requests.labels(by, why).inc()

    def compared(self, student: str, *, agreed: bool | None, sure: bool) -> None:
        """See `Watched`."""
        outcome = "unanswered" if agreed is None else "agreed" if agreed else "disagreed"
        self._compared.labels(student, outcome, str(sure).lower()).inc()

    def audited(self, student: str, *, e_value: float, broken: bool, worst: float) -> None:
        """See `Watched`."""
        self._worst.labels(student).set(worst)
        self._evidence.labels(student).set(e_value)
        self._broken.labels(student).set(broken)

    def missed(self, student: str, *, why: str, sure: bool, worst: float) -> None:
        """See `Watched`."""
        self._missed.labels(student, why, str(sure).lower()).inc()
        self._worst.labels(student).set(worst)

    def waited(self, seconds: float) -> None:
        """See `Watched`."""
        self._upstream.observe(seconds)

    def certified(self, student: str, has_one: bool) -> None:
        """Whether a student has a certificate."""
        self._certified.labels(student).set(has_one)

    def record(self, is_recording: Callable[[], bool]) -> None:
        """Tell whether traffic is kept, asked for anew each time."""
        self._recording.set_function(lambda: float(is_recording()))
