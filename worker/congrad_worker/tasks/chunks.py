"""The work of a gradients task: one chunk of samples in, its compressed gradients out. Runs without a broker."""

import logging
from http import HTTPStatus

import numpy as np
from congrad.contract import wire
from congrad_service import keys
from congrad_service.jobs.comparing import refusal
from redis.exceptions import OutOfMemoryError, RedisError

from congrad_worker.activity import Activity
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.lengths import length_ratio
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from congrad_worker.errors import DeviceLostError, SampleErrors, Unscorable, origin
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.tasks import metrics
from congrad_worker.tasks.records import ChunkResult
from congrad_worker.tasks.reports import note
from congrad_worker.tasks.store import Store

MAX_ATTEMPTS = 5
"""Starts of one chunk after which its job is given up: a chunk that kills its worker every time must not loop."""

MEMORY_PATIENCE_S = 60.0
"""How long a job that is being worked on may wait for a full Redis to take its gradients. Of several that wait each has
a part of its own there, and none could ever end; the one that is given up makes room for the others."""

NO_MEMORY = f"Redis has had no memory for the gradients of this job for {MEMORY_PATIENCE_S:g} s"

log = logging.getLogger(__name__)


class ChunkProcessor:
    """Computes chunks against one loaded checkpoint."""

    def __init__(self, store: Store, encoder: Encoder, engine: GradientEngine):
        self._store = store
        self._encoder = encoder
        self._engine = engine
        self._computed: tuple[tuple[str, int], ChunkResult] | None = None  # what Redis had no room for

    @property
    def activity(self) -> Activity:
        """What the engine counts in."""
        return self._engine.activity

    def process(self, job_id: str, number: int) -> bool:
        """Leaves the chunk's gradients in Redis; whether the job has all of them now. Doing it twice changes nothing.

        A failure fails the job, except Redis's own, which is for the queue to try again, and one that ends an
        accelerator, after which another process has to.

        :raises DeviceLostError: this process can compute nothing more.
        """
        _, attempts = self._store.start(job_id, keys.gradients_work(number))
        if not attempts:
            note(outcome="repeated")
            return False
        note(attempt=attempts)
        try:
            return self._run(job_id, number, attempts)
        except OutOfMemoryError:
            if self._store.has_waited(job_id, MEMORY_PATIENCE_S):
                self._fail(job_id, NO_MEMORY, HTTPStatus.SERVICE_UNAVAILABLE)
                return False
            self._store.give_back(memory=True)
            raise
        except RedisError:
            self._store.give_back()
            raise
        except Exception as error:
            log.error("job %s: chunk %d failed: %s", job_id, number, origin(error))
            if self._engine.has_lost_its_device:
                raise DeviceLostError(f"{self._engine.checkpoint.device} computes nothing more") from error
            self._fail(job_id, f"the gradients of chunk {number} failed: {type(error).__name__}: {error}")
            return False
        finally:
            self._store.rest()

    def _run(self, job_id: str, number: int, attempts: int) -> bool:
        if not self._store.has_gradients(job_id, number):
            if attempts > MAX_ATTEMPTS:
                self._fail(job_id, f"chunk {number} was given up: it was started {attempts - 1} times without an end")
                return False
            samples = self._store.chunk(job_id, number)
            if samples is None:
                note(outcome="repeated")
                return False
            if self._computed is None or self._computed[0] != (job_id, number):
                self._computed = (job_id, number), self._measured(samples)
            self._store.put_gradients(job_id, number, self._computed[1])
            self._computed = None
        else:
            note(outcome="repeated")
        return self._store.complete(job_id, number) == 0

    def _measured(self, samples: list[wire.AnySample]) -> ChunkResult:
        """`compute`, with what it took said in the report of the task."""
        activity = self._engine.activity
        tokens, computed = activity.tokens, activity.computed_tokens
        result = self.compute(samples)
        metrics.CHUNK_SAMPLES.observe(len(samples))
        note(
            samples=len(samples),
            tokens=activity.tokens - tokens,
            computed_tokens=activity.computed_tokens - computed,
        )
        return result

    def compute(self, samples: list[wire.AnySample]) -> ChunkResult:
        """The gradients of some samples, and why some have none; only the errors where any cannot be encoded."""
        ids = [str(sample.id) for sample in samples]
        languages = [sample.language for sample in samples]
        try:
            pairs, missing = self._encode(samples)
        except SampleErrors as error:
            none = Samples.of(np.zeros((0, self._engine.projection.dim), np.float32), languages)
            return ChunkResult(ids, none, truncated=[], errors=error.errors)
        gradients = self._engine.compute(list(pairs.values()))
        places = np.array(list(pairs), dtype=np.intp)
        values = np.zeros((len(samples), self._engine.projection.dim), np.float32)
        values[places] = gradients.values
        missing |= dict.fromkeys(places[gradients.out_of_memory].tolist(), wire.Reason.OUT_OF_MEMORY)
        truncated = [index in pairs and pairs[index].truncated for index in range(len(samples))]
        hashes = [self._engine.seen(pairs[index]).digest if index in pairs else None for index in range(len(samples))]
        ratios = [length_ratio(sample) for sample in samples]
        return ChunkResult(ids, Samples.of(values, languages, missing), truncated, [], hashes, ratios)

    def _encode(self, samples: list[wire.AnySample]) -> tuple[dict[int, EncodedPair], dict[int, wire.Reason]]:
        """The pairs by their places in the chunk, and why there is none in the others.

        :raises SampleErrors: with all samples of the chunk that are no pairs to the engine.
        """
        pairs: dict[int, EncodedPair] = {}
        missing: dict[int, wire.Reason] = {}
        errors: list[tuple[int, str]] = []
        for index, sample in enumerate(samples):
            try:
                pairs[index] = self._pair(sample)
            except Unscorable as error:
                missing[index] = error.reason
            except ValueError as error:
                errors.append((index, str(error)))
        if errors:
            raise SampleErrors(errors)
        return pairs, missing

    def _pair(self, sample: wire.AnySample) -> EncodedPair:
        """:raises Unscorable: there is nothing to take its gradient of.
        :raises ValueError: the loss cannot judge the sample, or it cannot be encoded.
        """
        reason = refusal(sample, self._engine.loss.name)
        if reason is not None:
            raise ValueError(reason)
        return self._encoder.encode(sample)

    def _fail(self, job_id: str, detail: str, status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR) -> None:
        note(outcome="failed")
        self._store.fail(job_id, wire.Problem(title=status.phrase, status=status, detail=detail))
