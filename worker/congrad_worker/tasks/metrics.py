"""What one worker counts, for Prometheus. The process that computes has them, and begins at zero when it is replaced.

A job is counted where its answer is committed, and so once, however often its tasks are delivered; a worker that is
killed in that moment has not counted it. A job that scores another's samples again counts as a job of its own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

from congrad.contract import wire
from congrad_service.observability.metrics import OTHER, SECONDS
from congrad_service.queue.registry import Announcement, Role
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from congrad_worker.activity import Activity

MAX_LANGUAGES = 50
"""Users name languages, and each name costs series: later ones are counted together, as `OTHER`."""

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

REGISTRY = CollectorRegistry()
"""All of this process, and what the process takes of the machine."""

ProcessCollector(registry=REGISTRY)

STATUSES = ("200", "409", "422", "500", "503")
OUTCOMES = ("done", "repeated", "failed", "requeued")

TASKS = Counter(
    "congrad_tasks_total",
    "Tasks by what became of them: done; repeated, and changed nothing; failed; requeued, as Redis was away.",
    ("task", "outcome"),
    registry=REGISTRY,
)
TASK_SECONDS = Histogram(
    "congrad_task_duration_seconds", "Time of one task.", ("task",), buckets=SECONDS, registry=REGISTRY
)
RESTARTS = Counter(
    "congrad_task_restarts_total",
    "Tasks that an earlier worker had begun and not ended.",
    ("task",),
    registry=REGISTRY,
)
CHUNK_SAMPLES = Histogram("congrad_chunk_samples", "Samples of one chunk.", buckets=SIZES, registry=REGISTRY)
HEARTBEATS_LOST = Counter(
    "congrad_heartbeats_lost_total", "Heartbeats that Redis did not take, or did not answer.", registry=REGISTRY
)
JOBS = Counter(
    "congrad_jobs_ended_total",
    "Jobs that this worker ended, by the HTTP status of their answer.",
    ("status",),
    registry=REGISTRY,
)
STAGES = Histogram(
    "congrad_job_stage_duration_seconds",
    "Time of jobs that succeeded, by stage: queued, gradients, decide, and total.",
    ("stage",),
    buckets=SECONDS,
    registry=REGISTRY,
)
RACES = Counter(
    "congrad_commit_retries_total",
    "Commits that came too late: another job had changed the direction, and this one was decided again.",
    registry=REGISTRY,
)
SAMPLES = Counter(
    "congrad_samples_total",
    "Samples of committed answers by language, kept or dropped.",
    ("language", "decision"),
    registry=REGISTRY,
)
REPEATED = Counter(
    "congrad_repeated_samples_total",
    "Samples of them whose pairs their directions had already, and that were not folded in.",
    ("language",),
    registry=REGISTRY,
)
SCORED = Counter(
    "congrad_scored_samples_total", "Samples of them that have a conflict score.", ("language",), registry=REGISTRY
)
CONFLICT = Counter(
    "congrad_conflict_total",
    "Sum of their conflict scores, absolute: those above 0, which conflict, apart from those that agree.",
    ("language", "sign"),
    registry=REGISTRY,
)
SCORES = Histogram(
    "congrad_conflict_score",
    "Conflict scores of all languages.",
    buckets=[tenth / 10 for tenth in range(-10, 11)],
    registry=REGISTRY,
)


class Bounded:
    """Labels out of values that users name: the first ``most`` are their own label, all later ones share `OTHER`."""

    def __init__(self, most: int):
        self._most = most
        self._known: set[str] = set()

    def label(self, value: str) -> str:
        """The label of a value."""
        if len(self._known) < self._most:
            self._known.add(value)
        return value if value in self._known else OTHER


_languages = Bounded(MAX_LANGUAGES)


def begin(
    role: Role,
    activity: Activity,
    serving: Callable[[], Announcement] | None = None,
    is_asleep: Callable[[], bool] | None = None,
) -> None:
    """Tells of this worker from now on. What can be named before it happens begins at 0, so that the first is seen.

    :param serving: what a gradients worker serves; None for a decide worker.
    :param is_asleep: whether it sleeps, likewise.
    """
    for outcome in OUTCOMES:
        TASKS.labels(role, outcome)
    for status in STATUSES:
        JOBS.labels(status)
    RESTARTS.labels(role)
    REGISTRY.register(WorkerCollector(role, activity, serving, is_asleep))


def count_answer(result: wire.FilterResult) -> None:
    """Counts a job whose answer has just been committed."""
    JOBS.labels("200").inc()
    for stage in wire.Timing.model_fields:
        STAGES.labels(stage.removesuffix("_s")).observe(getattr(result.timing, stage))
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for decision in result.decisions:
        if decision.conflict_score is not None:
            scores[decision.language].append(decision.conflict_score)
            SCORES.observe(decision.conflict_score)
    for tag, counts in result.summary.by_language.items():
        _count_language(_languages.label(tag), counts, scores[tag])


def _count_language(label: str, counts: wire.LanguageSummary, scores: Sequence[float]) -> None:
    # Once a language: thousands of decisions would hold up the next job. Both sides each time, so that neither is
    # missing where something is divided by the other.
    SAMPLES.labels(label, "kept").inc(counts.kept)
    SAMPLES.labels(label, "dropped").inc(counts.dropped)
    REPEATED.labels(label).inc(counts.repeated)
    SCORED.labels(label).inc(len(scores))
    CONFLICT.labels(label, "conflicting").inc(sum(score for score in scores if score > 0))
    CONFLICT.labels(label, "agreeing").inc(-sum(score for score in scores if score < 0))


class WorkerCollector(Collector):
    """What is looked at when it is asked for: who the worker is, its tokens, and the memory of its GPU.

    :param serving: what a gradients worker serves; None for a decide worker.
    :param is_asleep: whether it sleeps, likewise.
    """

    def __init__(
        self,
        role: Role,
        activity: Activity,
        serving: Callable[[], Announcement] | None = None,
        is_asleep: Callable[[], bool] | None = None,
    ):
        self._role = role
        self._activity = activity
        self._serving = serving
        self._is_asleep = is_asleep

    def collect(self) -> Iterable[Metric]:
        served = self._serving() if self._serving is not None else None
        labels = self._labels(served)
        info = GaugeMetricFamily("congrad_worker_info", "Which worker this is.", labels=list(labels))
        info.add_metric(list(labels.values()), 1)
        yield info
        yield CounterMetricFamily("congrad_busy_seconds", "Time spent on tasks.", self._activity.busy_s)
        if self._is_asleep is not None:
            text = "Whether the worker has given its weights back until there is work."
            yield GaugeMetricFamily("congrad_worker_asleep", text, self._is_asleep())
        if served is not None:
            yield self._tokens()
            text = "Batches that did not fit into the memory of the device, and were done in halves."
            yield CounterMetricFamily("congrad_out_of_memory", text, self._activity.overflows)
        if labels["device"].startswith("cuda"):
            yield from _gpu_memory()

    def _labels(self, served: Announcement | None) -> dict[str, str]:
        return {
            "role": self._role.value,
            "checkpoint": served.name if served else "",
            "fingerprint": served.fingerprint if served else "",
            "device": served.device if served else "cpu",
            "version": version("congrad-filter"),
        }

    def _tokens(self) -> Metric:
        family = CounterMetricFamily(
            "congrad_tokens",
            "Tokens that went through the model: those of the samples, and what came on top, such as padding.",
            labels=["kind"],
        )
        useful = self._activity.tokens
        family.add_metric(["useful"], useful)
        family.add_metric(["overhead"], self._activity.computed_tokens - useful)
        return family


def _gpu_memory() -> Iterable[Metric]:
    """Of the GPUs that this process uses: several, where a model is divided."""
    import torch  # a decide worker gets by without

    used = [gpu for gpu in range(torch.cuda.device_count()) if torch.cuda.max_memory_allocated(gpu)]
    for name, text, read in (
        ("allocated", "Memory that tensors take up now.", torch.cuda.memory_allocated),
        ("peak", "The most that tensors took up since the worker started.", torch.cuda.max_memory_allocated),
        ("total", "Memory of the device.", lambda gpu: torch.cuda.get_device_properties(gpu).total_memory),
    ):
        family = GaugeMetricFamily(f"congrad_gpu_memory_{name}_bytes", text, labels=["gpu"])
        for gpu in used:
            family.add_metric([str(gpu)], read(gpu))
        yield family


def serve(port: int, host: str) -> None:
    """Answers Prometheus in a thread, for as long as the process lives.

    :raises OSError: the port cannot be had.
    """
    start_http_server(port, host, REGISTRY)
