"""What the service counts, for Prometheus."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class ServiceMetrics:
    """The figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        by_model = ["model"]
        by_status = [*by_model, "endpoint", "code"]
        self.requests = counter("evergreen_requests", "Requests by HTTP status.", by_status)
        self.seconds = histogram(
            "evergreen_request_seconds",
            "Time from a request's head to its answer.",
            by_model,
            buckets=_SECONDS,
        )
        self.batch_rows = histogram(
            "evergreen_batch_rows", "Rows of one call of a model.", by_model, buckets=_ROWS
        )
        self.logged = counter("evergreen_rows_logged", "Rows in the log, durably.", by_model)
        self.waiting = gauge("evergreen_waiting_requests", "Requests that wait for an answer.", by_model)
        self.queue = gauge("evergreen_log_queue_rows", "Rows that wait to be logged.")
        self.version = gauge(
            "evergreen_model_version_info", "Versions that are served, by role.", ["model", "role", "version"]
        )
        self._shown: dict[str, list[tuple[str, str, str]]] = {}
        self.refused = counter("evergreen_refused_loads", "Versions that were refused.", by_model)
        self.shadow_rows = counter(
            "evergreen_shadow_rows",
            "Rows that shadows scored, or failed to.",
            ["model", "version", "outcome"],
        )
        self.registry_up = gauge("evergreen_registry_up", "1 while the registry answers.", by_model)

    def show_versions(self, model: str, roles: dict[str, int]) -> None:
        """Show which versions are served now, and no former ones."""
        for labels in self._shown.pop(model, ()):
            self.version.remove(*labels)
        self._shown[model] = [(model, role, str(version)) for role, version in roles.items()]
        for labels in self._shown[model]:
            self.version.labels(*labels).set(1)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)


class Tally:
    """The counters of one model's endpoint, looked up once for each status: a label look-up costs more than a count."""

    def __init__(self, metrics: ServiceMetrics, model: str, endpoint: str) -> None:
        self._metrics, self._model, self._endpoint = metrics, model, endpoint
        self._by_status: dict[int, Counter] = {}
        self._seconds = metrics.seconds.labels(model)

    def count(self, status: int, seconds: float) -> None:
        """Count an answer."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._metrics.requests.labels(self._model, self._endpoint, str(status))
            self._by_status[status] = counter
        counter.inc()
        self._seconds.observe(seconds)
