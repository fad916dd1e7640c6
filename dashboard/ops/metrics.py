"""GET /metrics: the queue's numbers for Prometheus. No organization, agent or address is named in them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from compliance.monitors.metrics import Figures, read_figures
from compliance.monitors.models import PHASES, SKIPPED, Outcome

# What proxies add. A request with any of them came from somewhere else than its peer.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_CF_CONNECTING_IP", "HTTP_TRUE_CLIENT_IP")


def answer(request: HttpRequest) -> HttpResponse:
    """The metrics for who may have them: the bearer of METRICS_TOKEN, or, where there is none, the machine itself."""
    refused = _refused(request)
    if refused is not None:
        return refused
    registry = CollectorRegistry()
    try:
        registry.register(QueueCollector())
        text = generate_latest(registry)
    except DatabaseError:
        return HttpResponse("the database does not answer\n", content_type="text/plain", status=503)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def _refused(request: HttpRequest) -> HttpResponse | None:
    if settings.METRICS_TOKEN:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        # As bytes: compare_digest takes no text beyond ASCII.
        right = hmac.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
        if scheme.lower() == "bearer" and right:
            return None
        return HttpResponse(
            "metrics need the token of ASSAY_METRICS_TOKEN\n",
            content_type="text/plain",
            status=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
    if _from_this_machine(request):
        return None
    return HttpResponse("not found\n", content_type="text/plain", status=404)


def _from_this_machine(request: HttpRequest) -> bool:
    if any(name in _FORWARDED or name.startswith("HTTP_X_FORWARDED") for name in request.META):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:  # a socket in the file system has no address; who is behind it is not known
        return False


class QueueCollector(Collector):
    """Asks the database once for each scrape, so that all web processes answer alike."""

    def collect(self) -> Iterator[Metric]:
        figures = read_figures()
        yield from _monitoring(figures)
        yield from _ticking(figures)

    def describe(self) -> list[Metric]:
        return []  # registering asks nothing


def _monitoring(figures: Figures) -> Iterator[Metric]:
    yield _gauge(figures, "due", "assay_due", "What is due and has no job yet, counted up to 100,000.", "kind")
    yield _gauge(figures, "overdue", "assay_overdue", "What has been due for too long, counted up to 100,000.", "kind")
    yield _gauge(
        figures, "oldest_overdue", "assay_oldest_overdue_seconds", "How long the longest overdue has been due.", "kind"
    )
    yield _gauge(figures, "jobs", "assay_jobs", "Jobs that have not ended.", "state", "trigger")
    yield _gauge(figures, "oldest_queued", "assay_oldest_queued_seconds", "How long the oldest queued job has waited.")
    yield _gauge(figures, "runners", "assay_runners", "Private runners that are trusted.", "state")
    yield _gauge(
        figures, "runner_silent", "assay_runner_last_seen_seconds", "How long ago the most silent one was heard of."
    )
    yield _counter(figures, "leases_run_out", "assay_leases_run_out", "Leases that ran out.")
    yield _counter(figures, "runs", "assay_runs", "Recorded runs.", "trigger", "verdict")
    decisions = _from_the_start(figures, "decisions", Outcome.values)
    yield _counter(decisions, "decisions", "assay_decisions", "Decisions about runs of monitors.", "outcome")
    heartbeats = _from_the_start(figures, "heartbeats", ["requested", *SKIPPED])
    yield _counter(heartbeats, "heartbeats", "assay_heartbeats", "Heartbeats, by what became of them.", "outcome")


def _ticking(figures: Figures) -> Iterator[Metric]:
    yield _gauge(
        figures,
        "tick_completed",
        "assay_tick_last_completed_timestamp_seconds",
        "When the phase last completed.",
        "phase",
    )
    yield _gauge(figures, "tick_duration", "assay_tick_duration_seconds", "How long it took then.", "phase")
    words = "Phases of ticks, by how they ended."
    phases = CounterMetricFamily("assay_tick_phases", words, labels=["phase", "outcome"])
    known = [f"{phase}.{outcome}" for phase in PHASES for outcome in ("completed", "failed")]
    for (label, _), value in _from_the_start(figures, "phases", known)["phases"].items():
        phase, _, outcome = label.partition(".")
        phases.add_metric([phase, outcome], value)
    yield phases


def _from_the_start(figures: Figures, name: str, labels: Iterable[str]) -> Figures:
    """With a zero for what has not happened yet: whoever counts an increase needs what was before it."""
    return {name: {(label, ""): 0.0 for label in labels} | dict(figures.get(name, {}))}


def _gauge(figures: Figures, name: str, metric: str, words: str, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(metric, words, labels=labels), figures, name, len(labels))


def _counter(figures: Figures, name: str, metric: str, words: str, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(metric, words, labels=labels), figures, name, len(labels))


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, figures: Figures, name: str, labels: int
) -> GaugeMetricFamily | CounterMetricFamily:
    for values, number in figures[name].items():
        family.add_metric(list(values[:labels]), number)
    return family
