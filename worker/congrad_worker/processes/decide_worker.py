"""The Celery application of a decide worker: NumPy on a CPU, no checkpoint and no torch."""

import os

from celery.signals import worker_process_init, worker_process_shutdown
from congrad_service import keys
from congrad_service.observability import tracing
from congrad_service.queue.registry import Role

from congrad_worker.activity import Activity
from congrad_worker.decisions.aggregation.aggregators import aggregator
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules
from congrad_worker.processes.celery_app import (
    give_work_up,
    requeued_on_outage,
    serve_metrics,
    started_or_given_up,
    worker_app,
)
from congrad_worker.processes.direct import Direct
from congrad_worker.processes.freeing import Freeing
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.settings import DecideSettings
from congrad_worker.tasks import metrics
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.reports import report
from congrad_worker.tasks.store import Store

# Read by glibc when the child starts: so much of what is free it keeps. It would give the memory of each matrix back at
# once, and to have its pages anew takes longer than what is computed there.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 2**20))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(64 * 2**20))

settings = DecideSettings()
rule = Rule(settings.aggregator, settings.seed, aggregator(settings.aggregator))
rules = Rules(rule, settings.half_life, settings.max_languages, settings.max_pairs)
app = worker_app("congrad_worker.processes.decide_worker", settings)

_store: Store | None = None
_activity = Activity()
_judge: Judge | None = None
_heartbeat: Heartbeat | None = None
_freeing: Freeing | None = None
_direct: Direct | None = None


@app.task(name=keys.DECIDE_TASK)
def decide(job_id: str) -> None:
    """Decides a job whose gradients are all there: that whose turn it is, or, where nothing waits, the message's."""
    assert _store is not None
    assert _direct is not None
    with requeued_on_outage(), _direct.message():
        if (turn := _store.turn(keys.DECIDE_QUEUE)) is not None:
            _settle(decide.request.id, turn[0])
        elif not _store.has_ended(job_id):
            _settle(decide.request.id, job_id)


def _decide_directly(alone: bool) -> None:
    assert _store is not None
    if (turn := _store.turn(keys.DECIDE_QUEUE, alone)) is not None:
        _settle("direct", turn[0])


def _settle(task_id: str, job_id: str) -> None:
    assert _judge is not None
    with report(Role.DECIDE, f"{keys.DECIDE_TASK}[{task_id}]", job_id), _activity.task():
        _judge.settle(job_id)


@worker_process_init.connect
def _begin(**_: object) -> None:
    global _store, _judge, _heartbeat, _freeing, _direct
    with started_or_given_up("the decide worker cannot start"):
        tracing.begin("congrad-decide")
        metrics.begin(Role.DECIDE, _activity)
        serve_metrics(settings)
        _store = Store(settings)
        _judge = Judge(_store, rules)
        _heartbeat = Heartbeat(_store, Role.DECIDE, activity=_activity)
        _heartbeat.start()
        if _store.shelf is not None:
            _freeing = Freeing(_store)
            _freeing.start()
        _direct = Direct(_store, lambda: keys.DECIDE_QUEUE, _decide_directly)
        _direct.start()


@worker_process_shutdown.connect
def _leave(**_: object) -> None:
    has_ended = _direct is None or _direct.stop()
    if _freeing is not None:
        _freeing.stop()
    if _heartbeat is not None:
        _heartbeat.stop()
    tracing.end()
    if not has_ended:
        give_work_up()
