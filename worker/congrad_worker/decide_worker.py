"""The Celery application of a decide worker: NumPy on a CPU, no checkpoint and no torch."""

from celery.signals import worker_process_init, worker_process_shutdown
from congrad_service import keys
from congrad_service.registry import Role

from congrad_worker.aggregators import aggregator
from congrad_worker.celery_app import requeued_on_outage, worker_app
from congrad_worker.decide import Rules
from congrad_worker.heartbeat import Heartbeat
from congrad_worker.settings import DecideSettings
from congrad_worker.store import Store
from congrad_worker.verdicts import Judge

settings = DecideSettings()
rules = Rules(settings.aggregator, aggregator(settings.aggregator), settings.half_life, settings.seed)
app = worker_app("congrad_worker.decide_worker", settings)

_judge: Judge | None = None
_heartbeat: Heartbeat | None = None


@app.task(name=keys.DECIDE_TASK)
def decide(job_id: str) -> None:
    """Decides a job whose gradients are all there."""
    assert _judge is not None
    with requeued_on_outage():
        _judge.settle(job_id)


@worker_process_init.connect
def _begin(**_: object) -> None:
    global _judge, _heartbeat
    store = Store(settings)
    _judge = Judge(store, rules)
    _heartbeat = Heartbeat(store, Role.DECIDE)
    _heartbeat.start()


@worker_process_shutdown.connect
def _leave(**_: object) -> None:
    if _heartbeat is not None:
        _heartbeat.stop()
