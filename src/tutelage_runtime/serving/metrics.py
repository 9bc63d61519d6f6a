"""What `/metrics` tells, in Prometheus' text format.

tutelage_requests_total{route, status}      requests, by what they got
tutelage_request_seconds{route}             from the first byte to the last of the reply
tutelage_answers_total{by}                  replies, by kind of who answered
tutelage_texts_total{student}               texts that a student has answered
tutelage_batch_texts{student}               texts in one call
tutelage_batch_seconds{student}             seconds of one call
tutelage_waiting_texts{student}             texts that wait or are under way
tutelage_student_info{student, version}     1, of each that serves
tutelage_reloads_total{outcome}             `done`, `unchanged` or `refused`
tutelage_ready                              1, or 0 while the server drains
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tutelage_runtime.serving.answering import ServedQuestion

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts what the server does; one registry a server, so that several may live in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by route and status", "route status")
        self._seconds = self._histogram("request_seconds", "Seconds a request", "route", _SECONDS)
        self._answers = self._counter("answers", "Replies by kind of who answered", "by")
        self._texts = self._counter("texts", "Texts answered", "student")
        self._batch_texts = self._histogram("batch_texts", "Texts a call", "student", _TEXTS)
        self._batch_seconds = self._histogram(
            "batch_seconds", "Seconds a call", "student", _SECONDS
        )
        self._reloads = self._counter("reloads", "Reloads by outcome", "outcome")
        self.ready = Gauge("tutelage_ready", "Whether requests are taken", registry=self.registry)
        # Looking series up by their labels takes longer than counting.
        self._of_answerer: dict[str, Counter] = {}
        self._of_student: dict[str, tuple[Counter, Histogram, Histogram]] = {}
        self._of_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, meaning: str, labels: str) -> Counter:
        return Counter(f"tutelage_{name}", meaning, labels.split(), registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, labels: str, buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(
            f"tutelage_{name}", meaning, labels.split(), buckets=buckets, registry=self.registry
        )

    def watch(
        self,
        served: Callable[[], Sequence[ServedQuestion]],
        waiting: Callable[[], Mapping[str, int]],
    ) -> None:
        """Also tell who serves and how much waits, asked for anew each time."""
        self.registry.register(_Serving(served, waiting))

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request has got its reply."""
        pair = self._of_route.get((route, status))
        if pair is None:
            pair = self._requests.labels(route, status), self._seconds.labels(route)
            self._of_route[route, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def answered(self, by: str) -> None:
        """A reply was made by this kind of answerer."""
        counter = self._of_answerer.get(by)
        if counter is None:
            counter = self._of_answerer[by] = self._answers.labels(by)
        counter.inc()

    def batch(self, name: str, texts: int, seconds: float) -> None:
        """A student has answered so many texts in one call."""
        series = self._of_student.get(name)
        if series is None:
            series = self._of_student[name] = (
                self._texts.labels(name),
                self._batch_texts.labels(name),
                self._batch_seconds.labels(name),
            )
        series[0].inc(texts)
        series[1].observe(texts)
        series[2].observe(seconds)

    def reloaded(self, outcome: str) -> None:
        """A reload was `done`, `unchanged` or `refused`."""
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Serving(Collector):
    """Who serves, as of the moment of asking."""

    def __init__(
        self,
        served: Callable[[], Sequence[ServedQuestion]],
        waiting: Callable[[], Mapping[str, int]],
    ) -> None:
        self._served, self._waiting = served, waiting

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        info = GaugeMetricFamily(
            "tutelage_student_info", "Students that serve", labels=["student", "version"]
        )
        for one in self._served():
            info.add_metric([one.name, one.version], 1)
        waiting = GaugeMetricFamily(
            "tutelage_waiting_texts", "Texts that wait or are under way", labels=["student"]
        )
        for name, number in self._waiting().items():
            waiting.add_metric([name], number)
        return [info, waiting]
