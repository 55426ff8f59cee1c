"""What one service process counts, for Prometheus. What Redis holds is read for each scrape: see `gauges.py`."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

# As many series again, of times that Prometheus does not ask for.
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the bins of durations: from a read of Redis to a request that waits for its job as long as it may."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

OTHER = "other"
"""The label of what clients could make any number of: methods that are none, paths that are no route."""


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "congrad_http_requests_total",
            "Requests that were answered, by the template of their route.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "congrad_http_request_duration_seconds",
            "Time from a request to the head of its answer. That of a stream is there long before its end.",
            ("route", "method"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.recovered = Counter(
            "congrad_work_recovered_total",
            "Tasks that were put back into the queue because their worker had gone, or their message was lost.",
            ("task",),
            registry=self.registry,
        )
        for task in ("gradients", "decide"):
            self.recovered.labels(task)

    def count_request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Counts a request.

        :param route: the template of its path; None where it was refused before it was routed, or is no route.
        :param seconds: until the head of the answer.
        """
        labels = (route or OTHER, method if method in METHODS else OTHER)
        self._requests.labels(*labels, str(status)).inc()
        self._durations.labels(*labels).observe(seconds)
