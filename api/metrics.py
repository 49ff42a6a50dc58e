"""Figures for monitoring, in Prometheus' format. Counts and durations only: nothing names a person or an image."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Queue(Collector):
    """Attribution jobs without a result, and the speed, looked up when somebody asks."""

    def __init__(self, look: Callable[[], tuple[Mapping[str, int], float]]) -> None:
        self._look = look

    def describe(self) -> Iterable[Metric]:
        """Nothing to count while the registry is set up."""
        return []

    def collect(self) -> Iterator[Metric]:
        """A gauge per state, speed, time left; none while the database cannot be reached: absent is unknown."""
        gauge = GaugeMetricFamily(
            "royalty_attribution_jobs", "Attribution jobs without a result, by state", labels=["state"]
        )
        try:
            counts, per_second = self._look()
        except Exception as error:
            structlog.get_logger().warning("queue not counted", error=type(error).__name__)
            return
        for state, count in sorted(counts.items()):
            gauge.add_metric([state], count)
        yield gauge
        speed = "royalty_attribution_images_per_second"
        yield GaugeMetricFamily(speed, "Images attributed per second over the last minute", value=per_second)
        left = counts.get("pending", 0) + counts.get("leased", 0)
        if per_second or not left:
            seconds = left / per_second if left else 0.0
            name = "royalty_attribution_seconds_left"
            yield GaugeMetricFamily(
                name, "For the open jobs, at that speed; absent while it is 0", value=seconds
            )


class Metrics:
    """One application's counters. Each has a registry of its own, so that two applications in one process do not meet.

    Args:
        queue: looks up how many attribution jobs have no result, by state, and images per second.
    """

    def __init__(self, queue: Callable[[], tuple[Mapping[str, int], float]]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "royalty_http_requests", "Requests", ["method", "route", "status"], registry=self._registry
        )
        self._duration = Histogram(
            "royalty_http_request_duration_seconds",
            "From the request's first byte to the answer's last",
            ["method", "route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self._registry,
        )
        self._rows = Counter(
            "royalty_ingested",
            "Rows sent in, by kind and outcome",
            ["kind", "outcome"],
            registry=self._registry,
        )
        self._registry.register(_Queue(queue))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is the template, never the address: its values would be without end."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._duration.labels(method, route).observe(seconds)

    def ingested(self, kind: str, outcomes: Iterable[str]) -> None:
        """Count rows that were sent in: kind image, sale or refund; outcome recorded, known or refused."""
        for outcome in outcomes:
            self._rows.labels(kind, outcome).inc()

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
