"""The Celery application, as `processes/gradients_worker.py` has it, around the engine that waits. Without torch, which
would cost each of many workers 300 MiB and ten seconds of a core; and without CUDA a child may be forked."""

import ctypes
import signal
from typing import TYPE_CHECKING, cast

from celery.signals import worker_process_init, worker_process_shutdown
from congrad.contract import wire
from congrad.local.part import PR_SET_PDEATHSIG
from congrad_service import keys
from congrad_service.queue.registry import Announcement, Role
from congrad_worker.processes.celery_app import requeued_on_outage, worker_app
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.settings import WorkerSettings
from congrad_worker.tasks.batches import work_off
from congrad_worker.tasks.chunks import ChunkProcessor
from congrad_worker.tasks.store import Store

from benchmarks.waiting_worker.engine import WaitingEncoder, WaitingEngine
from benchmarks.waiting_worker.settings import WaitingSettings

if TYPE_CHECKING:
    from congrad_worker.checkpoints.encoding import Encoder
    from congrad_worker.gradients.engine import GradientEngine

settings = WorkerSettings()
waiting = WaitingSettings()
app = worker_app("benchmarks.waiting_worker.app", settings)
app.conf.worker_pool_start_method = "fork"

_store: Store | None = None
_processor: ChunkProcessor | None = None
_heartbeat: Heartbeat | None = None


@app.task(name=keys.GRADIENTS_TASK)  # type: ignore[untyped-decorator] # Celery has no types
def gradients(job_id: str, number: int) -> None:
    """Waits for one chunk of a job; whoever finds the job complete asks for its decision."""
    assert _store is not None
    assert _processor is not None
    task = f"{keys.GRADIENTS_TASK}[{gradients.request.id}]"
    with requeued_on_outage():
        queue = keys.gradients_queue(_announcement().fingerprint)
        room = _processor.batch_bytes if waiting.together else 0
        pieces = _store.chunk_turns(queue, room) or [(job_id, number)]
        work_off(_processor, task, pieces, _ask_for_decision)


def _ask_for_decision(job_id: str) -> None:
    assert _store is not None
    app.send_task(keys.DECIDE_TASK, args=(job_id,), queue=keys.DECIDE_QUEUE)
    _store.note_asked(job_id)


def end_with_parent() -> None:
    """Has Linux kill this process when the one that has forked it ends: the kernel tells a stack's own parts only."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin(**_: object) -> None:
    global _store, _processor, _heartbeat
    end_with_parent()
    _store = Store(settings)
    encoder, engine = cast("Encoder", WaitingEncoder(waiting)), cast("GradientEngine", WaitingEngine(waiting))
    _processor = ChunkProcessor(_store, encoder, engine)
    _heartbeat = Heartbeat(_store, Role.GRADIENTS, _announcement(), _processor.activity)
    _heartbeat.start()


def _announcement() -> Announcement:
    return Announcement(
        name="waiting",
        fingerprint=waiting.fingerprint,
        loss="sigmoid",
        beta=0.1,
        reference="policy",
        projection=wire.Projection(kind="kronecker", rank=128, dim=waiting.dim, seed=0),
        target_modules=None,
        unit_gradients=True,
        modules=0,
        coverage=1.0,
        shared_prompts=True,
        max_length=1024,
        dtype="float32",
        device="none",
    )


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _leave(**_: object) -> None:
    if _heartbeat is not None:
        _heartbeat.stop()
