"""The Celery application of a gradients worker. The parent never imports torch: only the child that computes does."""

import os
from typing import TYPE_CHECKING

from celery.signals import worker_process_init, worker_process_shutdown
from congrad_service import keys
from congrad_service.observability import tracing
from congrad_service.queue.registry import Announcement, Role

from congrad_worker.checkpoints.files import CheckpointFiles, locate
from congrad_worker.processes.celery_app import (
    ended_with_its_device,
    requeued_on_outage,
    serve_metrics,
    started_or_given_up,
    worker_app,
)
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks import metrics
from congrad_worker.tasks.batches import work_off
from congrad_worker.tasks.store import Store

if TYPE_CHECKING:
    from congrad_worker.tasks.chunks import ChunkProcessor

settings = GradientSettings()
app = worker_app("congrad_worker.processes.gradients_worker", settings)

_store: Store | None = None
_processor: "ChunkProcessor | None" = None
_heartbeat: Heartbeat | None = None
_queue = ""


@app.task(name=keys.GRADIENTS_TASK)
def gradients(job_id: str, number: int) -> None:
    """Computes the chunk whose turn it is, and what else fits beside it; where nothing waits, the message's. Whoever
    finds a job complete asks for its decision."""
    assert _store is not None
    assert _processor is not None
    task = f"{keys.GRADIENTS_TASK}[{gradients.request.id}]"
    with ended_with_its_device(), requeued_on_outage():
        room = _processor.batch_bytes if settings.batch_requests else 0
        work_off(_store, _processor, task, _store.chunk_turns(_queue, room) or [(job_id, number)], _ask_for_decision)


def _ask_for_decision(job_id: str) -> None:
    assert _store is not None
    app.send_task(keys.DECIDE_TASK, args=(job_id,), queue=keys.DECIDE_QUEUE)
    _store.note_asked(job_id)


@worker_process_init.connect
def _load(**_: object) -> None:
    """Loads the checkpoint, then says that it is served."""
    global _store, _processor, _heartbeat, _queue
    with started_or_given_up(f"{settings.model} cannot be served"):
        tracing.begin("congrad-gradients")
        serve_metrics(settings)
        _store = Store(settings)
        _processor, announcement = _serve(_store, locate(settings))
        _queue = keys.gradients_queue(announcement.fingerprint)
        _heartbeat = Heartbeat(_store, Role.GRADIENTS, announcement, _processor.activity)
        _heartbeat.start()


def _serve(store: Store, files: CheckpointFiles) -> "tuple[ChunkProcessor, Announcement]":
    # Read when torch is imported. Batches are of many sizes, and blocks of memory that cannot grow are left over.
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    from congrad_worker.checkpoints.checkpoint import load  # these import torch
    from congrad_worker.checkpoints.encoding import Encoder
    from congrad_worker.gradients.verification import verified_engine
    from congrad_worker.processes.serving import announce
    from congrad_worker.tasks.chunks import ChunkProcessor

    checkpoint = load(files, settings)
    engine = verified_engine(checkpoint, settings)
    encoder = Encoder(checkpoint.tokenizer, checkpoint.max_length, checkpoint.vocabulary)
    announcement = announce(files, settings, checkpoint, engine)
    metrics.begin(Role.GRADIENTS, engine.activity, announcement)
    return ChunkProcessor(store, encoder, engine), announcement


@worker_process_shutdown.connect
def _leave(**_: object) -> None:
    if _heartbeat is not None:
        _heartbeat.stop()
    tracing.end()
