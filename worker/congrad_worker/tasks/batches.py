"""Chunks of several jobs that one task of the queue computes together.

A task takes the chunk whose turn it is, and along with it what else waits for the same checkpoint, in its turn and as
long as one batch holds it all: on a GPU a batch of one pair takes nearly as long as one of eight. The messages of the
chunks that are taken along find nothing to do. Nothing is waited for, so that a lone request is as fast as ever.

Each chunk is started, given back, counted and logged by itself, as if it had been alone.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from congrad_service.queue.registry import Role
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from congrad_worker.errors import ShardStoreError
from congrad_worker.tasks.reports import report

if TYPE_CHECKING:
    from congrad_worker.tasks.chunks import ChunkProcessor, Piece  # it imports NumPy, which a parent does without


def work_off(
    processor: "ChunkProcessor", task: str, pieces: "Sequence[Piece]", decide: Callable[[str], object]
) -> None:
    """Processes chunks that were taken together.

    :param task: its name and Celery's id.
    :param decide: asks for the decision of a job that has all of its gradients.
    :raises RedisError, OperationalError, ShardStoreError: Redis, the broker or the gradient store failed for one of
        them; the others are done.
    """
    failure: Exception | None = None
    for job_id, number in processor.begin(pieces):
        try:
            with report(Role.GRADIENTS, task, job_id, chunk=number), processor.activity.task():
                if processor.process(job_id, number):
                    decide(job_id)
        except (RedisError, OperationalError, ShardStoreError) as error:
            failure = error
    if failure is not None:
        raise failure
