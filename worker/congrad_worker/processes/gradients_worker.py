"""The Celery application of a gradients worker. The parent never imports torch: only the child that computes does."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celery.exceptions import Reject
from celery.signals import worker_process_init, worker_process_shutdown
from congrad_service import keys
from congrad_service.observability import tracing
from congrad_service.queue.registry import Role

from congrad_worker.errors import CheckpointError
from congrad_worker.memory import let_blocks_grow, uncollected
from congrad_worker.processes import liveness
from congrad_worker.processes.celery_app import (
    OUTAGE_PAUSE_S,
    ended_with_its_device,
    give_up,
    give_work_up,
    requeued_on_outage,
    serve_metrics,
    started_or_given_up,
    worker_app,
)
from congrad_worker.processes.direct import Direct
from congrad_worker.processes.following import Following
from congrad_worker.processes.heartbeat import Heartbeat, Rest
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks import metrics
from congrad_worker.tasks.batches import work_off
from congrad_worker.tasks.store import Store

if TYPE_CHECKING:
    from congrad_worker.serving.resident import Resident
    from congrad_worker.serving.served import Identity, Served
    from congrad_worker.serving.steward import Steward

settings = GradientSettings()
app = worker_app("congrad_worker.processes.gradients_worker", settings)
app.steps["consumer"].add(Following)

_store: Store | None = None
_resident: "Resident | None" = None
_steward: "Steward | None" = None
_heartbeat: Heartbeat | None = None
_direct: Direct | None = None


@app.task(name=keys.GRADIENTS_TASK)
def gradients(job_id: str, number: int) -> None:
    """Computes the chunk whose turn it is, and what else fits beside it; where nothing waits, the message's. Whoever
    finds a job complete asks for its decision."""
    assert _resident is not None
    assert _direct is not None
    with ended_with_its_device(), requeued_on_outage(), _direct.message():
        if _resident.asleep is not None and not _is_there_work(job_id, number):
            return  # it was done before its message came, and the device may be somebody else's now
        with _awake(_resident) as served:
            _work(served, gradients.request.id, [(job_id, number)])


def _is_there_work(job_id: str, number: int) -> bool:
    assert _store is not None
    assert _resident is not None
    own = _resident.identity
    return _store.has_waiting(own.queue) or _store.is_wanted(job_id, number, own.fingerprint)


def _work_directly(alone: bool) -> None:
    assert _resident is not None
    with ended_with_its_device(), _awake(_resident) as served:
        _work(served, "direct", alone=alone)


def _queue_of_work() -> str | None:
    """Where work is taken directly. One that sleeps is woken by a message only, whatever was told before it slept."""
    assert _resident is not None
    return None if _resident.asleep is not None else _resident.identity.queue


def _work(served: "Served", task_id: str, otherwise: Sequence[tuple[str, int]] = (), alone: bool = False) -> bool:
    """Does what waits for a checkpoint, as far as one batch holds it; whether there was anything.

    :param otherwise: what is done where nothing waits, if it is the same checkpoint's and still to be done.
    :param alone: only a job that no other waits beside.
    """
    assert _store is not None
    own = served.identity
    room = served.processor.batch_bytes if settings.batch_requests else 0
    pieces = _store.chunk_turns(own.queue, room, alone)
    if not pieces:
        pieces = [piece for piece in otherwise if _store.is_wanted(*piece, own.fingerprint)]
    if pieces:
        work_off(served.processor, f"{keys.GRADIENTS_TASK}[{task_id}]", pieces, _ask_for_decision)
    return bool(pieces)


def _work_late(served: "Served") -> bool:
    """The same, without a message."""
    with ended_with_its_device():
        return _work(served, "waiting")


@contextmanager
def _awake(resident: "Resident") -> "Iterator[Served]":
    """What is served, which nobody changes for the time of the block."""
    with resident.alone():
        _wake(resident)
        with resident.at_work() as served:
            yield served


def _wake(resident: "Resident") -> None:
    """A device that has no room for it now may have later, and the message waits for that. Weights that are not there
    any more will not be."""
    from congrad_worker.gradients.device import is_out_of_memory  # it imports torch

    try:
        resident.wake()
    except (CheckpointError, RuntimeError) as error:
        if not any(is_out_of_memory(one) for one in (error, error.__cause__) if one is not None):
            give_up(str(error))
        time.sleep(OUTAGE_PAUSE_S)
        raise Reject(str(error), requeue=True) from error


def _ask_for_decision(job_id: str) -> None:
    assert _store is not None
    app.send_task(keys.DECIDE_TASK, args=(job_id,), queue=keys.DECIDE_QUEUE)
    _store.note_asked(job_id)


@worker_process_init.connect
def _load(**_: object) -> None:
    """Loads the checkpoint, then says that it is served."""
    global _store, _resident, _steward, _heartbeat, _direct
    with started_or_given_up(f"{settings.model} cannot be served"):
        tracing.begin("congrad-gradients")
        serve_metrics(settings)
        _store = Store(settings)
        _resident, _steward = _residing(_store)
        _heartbeat = Heartbeat(_store, Role.GRADIENTS, _resident.identity.announcement, _resident.activity, _rest)
        liveness.serves(_resident.identity.queue)
        _heartbeat.start()
        _steward.start()
        _direct = Direct(_store, _queue_of_work, _work_directly)
        _direct.start()


def _residing(store: Store) -> "tuple[Resident, Steward]":
    let_blocks_grow(os.environ)
    with uncollected():
        from congrad_worker.serving.desk import Desk
        from congrad_worker.serving.resident import Resident  # these import torch
        from congrad_worker.serving.start import beginning
        from congrad_worker.serving.steward import Steward, Surroundings

        if settings.models:
            import peft  # noqa: F401 # it takes seconds: not while somebody waits for the first adapter

    desk = Desk(store)
    begun = beginning(desk, settings)
    resident = Resident(store, begun.files, begun.settings)
    metrics.begin(
        Role.GRADIENTS,
        resident.activity,
        lambda: resident.identity.announcement,
        lambda: resident.asleep is not None,
    )
    around = Surroundings(_work_late, _announce, _beat, _forget_queue, give_up)
    return resident, Steward(desk, resident, around, begun.origin, begun.previous)


def _rest() -> Rest:
    assert _resident is not None
    assert _steward is not None
    return Rest(_resident.asleep, _steward.order)


def _announce(identity: "Identity") -> None:
    assert _heartbeat is not None
    liveness.serves(identity.queue)
    _heartbeat.announce(identity.announcement)


def _beat() -> None:
    assert _heartbeat is not None
    _heartbeat.beat()


def _forget_queue(name: str) -> None:
    """Has the broker forget a queue. One that has to be known to be deleted is made first, as Celery makes it."""
    with app.connection_for_write() as connection:
        queue = app.amqp.queues.new_missing(name)(connection.default_channel)
        queue.declare()
        queue.delete()


@worker_process_shutdown.connect
def _leave(**_: object) -> None:
    has_ended = _direct is None or _direct.stop()
    if _steward is not None:
        _steward.stop()
    if _heartbeat is not None:
        _heartbeat.stop()
    tracing.end()
    if not has_ended:
        give_work_up()
