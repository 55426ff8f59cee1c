"""A snapshot of Redis as Prometheus reads it. Where several service processes run, each tells the same."""

from collections.abc import Iterator, Sequence

from congrad.contract import wire
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from congrad_service.queue.registry import Role
from congrad_service.scraping.snapshots import MAX_WEIGHTS, Snapshot

WORKERS = ("role", "checkpoint", "fingerprint")
"""The labels that tell kinds of workers apart; a decide worker serves every checkpoint."""

Value = tuple[Sequence[str], float]
"""The labels of a series, and its value."""


class Gauges(Collector):
    """Tells one snapshot; None is a Redis that does not answer, and then there is no more to tell."""

    def __init__(self, snapshot: Snapshot | None):
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield _gauge("congrad_redis_up", "Whether Redis answers.", self._snapshot is not None)
        if self._snapshot is not None:
            if self._snapshot.queue is not None:
                yield from _queue(self._snapshot.queue)
            yield from _workers(self._snapshot)
            yield from _directions(self._snapshot)
            yield from _memory(self._snapshot)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _gauges(name: str, text: str, labels: Sequence[str], values: Sequence[Value]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for labelled, value in values:
        family.add_metric(labelled, value)
    return family


def _queue(queue: wire.Queue) -> Iterator[Metric]:
    yield _gauge("congrad_queue_jobs", "Unfinished jobs.", queue.active)
    yield _gauge("congrad_queue_jobs_limit", "Unfinished jobs that are taken: one more is refused.", queue.limit)
    age = queue.oldest_s or 0.0
    yield _gauge("congrad_queue_oldest_job_age_seconds", "Age of the oldest unfinished job; 0 without one.", age)
    tasks: list[Value] = [((Role.GRADIENTS, c.checkpoint, c.fingerprint), c.tasks) for c in queue.checkpoints]
    tasks.append(((Role.DECIDE, "", ""), queue.decide))
    yield _gauges("congrad_queue_tasks", "Tasks that no worker has taken up, by the workers that can.", WORKERS, tasks)
    work: list[Value] = [((Role.GRADIENTS, c.checkpoint, c.fingerprint), c.work) for c in queue.checkpoints]
    yield _gauges("congrad_queue_work", "Chunks that wait or are being computed.", WORKERS, work)


def _workers(snapshot: Snapshot) -> Iterator[Metric]:
    values: list[Value] = [((Role.GRADIENTS, c.name, c.fingerprint), c.workers) for c in snapshot.checkpoints]
    if not values:
        values.append(((Role.GRADIENTS, "", ""), 0))  # rather than nothing, which nobody can be alarmed by
    values.append(((Role.DECIDE, "", ""), snapshot.decide_workers))
    yield _gauges("congrad_workers", "Workers with a heartbeat.", WORKERS, values)
    waiting: list[Value] = [((Role.GRADIENTS,), snapshot.waiting_checkpoints)]
    text = "Checkpoints that no worker serves, and that requests are taken for all the same."
    yield _gauges("congrad_waiting_checkpoints", text, ("role",), waiting)
    asleep: list[Value] = [((c.name, c.fingerprint), c.asleep) for c in snapshot.checkpoints]
    text = "Those of them that have given their weights back until there is work."
    yield _gauges("congrad_workers_asleep", text, WORKERS[1:], asleep)


def _directions(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("congrad_directions", "Directions of the team that asks.", snapshot.direction_count)
    for name, text, field in (
        ("congrad_direction_version", "Version of a direction; a reset begins at 1 again.", "version"),
        ("congrad_direction_norm", "Norm of a direction after surgery.", "norm"),
        ("congrad_direction_samples", "Samples of all languages that were folded into a direction.", "samples"),
        ("congrad_direction_updated_timestamp_seconds", "When a direction changed last.", "updated"),
    ):
        values = [((direction.name,), float(getattr(direction, field))) for direction in snapshot.directions]
        yield _gauges(name, text, ("direction",), values)
    weights: list[Value] = [
        ((direction.name, tag), weight)
        for direction in snapshot.directions
        for tag, weight in sorted(direction.weights.items())
    ]
    text = "What a language counts in a direction, in shares of 1; 0 where it is not heard."
    yield _gauges("congrad_direction_language_weight", text, ("direction", "language"), weights[:MAX_WEIGHTS])


def _memory(snapshot: Snapshot) -> Iterator[Metric]:
    if snapshot.memory is None:
        return
    yield _gauge("congrad_redis_memory_used_bytes", "Memory that Redis uses.", snapshot.memory.used)
    if snapshot.memory.most is not None:
        yield _gauge("congrad_redis_memory_limit_bytes", "Memory that Redis may use.", snapshot.memory.most)
