"""The work of a gradients task: one chunk of samples in, its compressed gradients out. Runs without a broker."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import numpy as np
from congrad.contract import wire
from congrad.contract.losses import refusal
from congrad_service import keys
from congrad_service.jobs.chunks import BYTES_PER_TOKEN
from pydantic import ValidationError
from redis.exceptions import OutOfMemoryError, RedisError

from congrad_worker.activity import Activity
from congrad_worker.checkpoints.lengths import length_ratio
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from congrad_worker.errors import DeviceLostError, SampleErrors, ShardStoreError, Unscorable, origin
from congrad_worker.gradients.compressed import Gradients
from congrad_worker.tasks import metrics
from congrad_worker.tasks.patience import Abandoned, Demand
from congrad_worker.tasks.records import ChunkResult, StartedChunk
from congrad_worker.tasks.reports import belongs_to, note
from congrad_worker.tasks.store import Store

if TYPE_CHECKING:  # they import torch, for which a stand-in may have no use
    from congrad_worker.checkpoints.encoding import Encoder
    from congrad_worker.gradients.engine import GradientEngine

MAX_ATTEMPTS = 5
"""Starts of one chunk after which its job is given up: a chunk that kills its worker every time must not loop."""

MEMORY_PATIENCE_S = 60.0
"""How long a job that is being worked on may wait for a full Redis, or a gradient store, to take its gradients. Of
several that wait each has a part of its own there, and none could ever end; the one that is given up makes room for the
others."""

NO_MEMORY = f"Redis has had no memory for the gradients of this job for {MEMORY_PATIENCE_S:g} s"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedChunk:
    """The pairs of a chunk by their places in it, and why there is none in the others."""

    pairs: dict[int, EncodedPair]
    missing: dict[int, wire.Reason]


Piece = tuple[str, int]
"""A job, and the number of one of its chunks."""


class ChunkProcessor:
    """Computes chunks against one loaded checkpoint.

    Chunks that are begun together are computed together, by whichever of them is processed first.
    """

    def __init__(self, store: Store, encoder: "Encoder", engine: "GradientEngine"):
        self._store = store
        self._encoder = encoder
        self._engine = engine
        self._begun: dict[Piece, StartedChunk] = {}  # those that are not processed yet
        self._waiting: dict[Piece, list[wire.AnySample]] = {}  # of these, what is not computed yet
        self._computed: dict[Piece, ChunkResult] = {}  # what was computed last and is not in Redis yet

    @property
    def activity(self) -> Activity:
        """What the engine counts in."""
        return self._engine.activity

    @property
    def batch_bytes(self) -> int:
        """The size of chunks that one batch holds together."""
        return BYTES_PER_TOKEN * self._engine.batch_tokens

    def begin(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Starts chunks that are to be computed together; those that are to be processed now.

        The first is among them whatever it is. None of the others is that was begun before: it may have been what its
        worker died of, and would count as that again with whatever is computed beside it.
        """
        self._begun, self._waiting = {}, {}
        try:
            for piece in pieces if len(pieces) > 1 else ():
                self._begin(piece)
        except RedisError:
            self._store.leases.give_back()
            raise
        return [piece for piece in pieces if piece in self._begun or piece == pieces[0]]

    def _begin(self, piece: Piece) -> None:
        begun = self._store.start(*piece)
        if begun.attempts or begun.is_there:
            self._begun[piece] = begun
        with suppress(ValidationError):  # it fails by itself, as it is processed
            if (samples := begun.samples) is not None:
                self._waiting[piece] = samples

    def process(self, job_id: str, number: int) -> bool:
        """Leaves the chunk's gradients in Redis; whether the job has all of them now. Doing it twice changes nothing.

        A failure fails the job, except Redis's own and the gradient store's, which are for the queue to try again, and
        one that ends an accelerator, after which another process has to.

        :raises DeviceLostError: this process can compute nothing more.
        """
        at = job_id, keys.gradients_work(number)
        begun = self._begun.pop((job_id, number), None) or self._store.start(job_id, number)
        belongs_to(begun.origin)
        if not begun.attempts:
            note(outcome="repeated")
            # The message of a chunk that another task has taken along finds nothing to do, and that was no start.
            is_complete = begun.is_there and self._store.complete(job_id, number) == 0
            return is_complete and not self._store.is_asked(job_id)
        note(attempt=begun.attempts)
        try:
            return self._run(job_id, number, begun)
        except Abandoned:
            note(outcome="repeated")
            return False
        except (OutOfMemoryError, ShardStoreError) as error:
            if self._store.has_waited(job_id, MEMORY_PATIENCE_S):
                detail = NO_MEMORY if isinstance(error, OutOfMemoryError) else f"{error}, for {MEMORY_PATIENCE_S:g} s"
                self._fail(job_id, detail, HTTPStatus.SERVICE_UNAVAILABLE)
                return False
            self._store.leases.give_back(at, memory=True)
            raise
        except RedisError:
            self._store.leases.give_back(at)
            raise
        except Exception as error:
            log.error("job %s: chunk %d failed: %s", job_id, number, origin(error))
            if self._engine.has_lost_its_device:
                raise DeviceLostError(f"{self._engine.checkpoint.device} computes nothing more") from error
            self._fail(job_id, f"the gradients of chunk {number} failed: {type(error).__name__}: {error}")
            return False
        finally:
            self._store.leases.rest(at)

    def _run(self, job_id: str, number: int, begun: StartedChunk) -> bool:
        samples = self._waiting.pop((job_id, number), None)
        if begun.attempts > MAX_ATTEMPTS:
            self._store.uncount(job_id, keys.gradients_work(number))
            starts = f"it was started {begun.attempts - 1} times without an end"
            self._fail(job_id, f"chunk {number} was given up: {starts}")
            return False
        samples = samples or begun.samples
        if samples is None:
            note(outcome="repeated")
            return False
        missing = self._store.put_gradients(job_id, number, self._result((job_id, number), samples))
        del self._computed[job_id, number]
        return missing == 0

    def _result(self, piece: Piece, samples: list[wire.AnySample]) -> ChunkResult:
        if piece not in self._computed:
            together = {piece: samples, **self._waiting}
            self._waiting = {}
            self._computed = self._computed_together(together) if len(together) > 1 else {}
        if piece not in self._computed:
            self._computed[piece] = self._measured({piece: samples})[0]
        metrics.CHUNK_SAMPLES.observe(len(samples))
        note(samples=len(samples))
        return self._computed[piece]

    def _computed_together(self, chunks: dict[Piece, list[wire.AnySample]]) -> dict[Piece, ChunkResult]:
        """The results of several chunks; none where something fails, and each has to show by itself whether it is that
        which does."""
        try:
            results = self._measured(chunks)
        except Abandoned:
            self._begun.clear()  # to start them again finds out at once
            raise
        except Exception as error:
            if self._engine.has_lost_its_device:
                raise
            log.warning("%d chunks failed together and are computed one by one: %s", len(chunks), origin(error))
            return {}
        note(together=len(chunks))
        return dict(zip(chunks, results, strict=True))

    def _measured(self, chunks: dict[Piece, list[wire.AnySample]]) -> list[ChunkResult]:
        """`compute` while anybody waits for it, with what it took said in the report of the task.

        :raises Abandoned: the jobs of all chunks have ended meanwhile.
        """
        activity = self._engine.activity
        tokens, computed = activity.tokens, activity.computed_tokens
        results = self.compute(list(chunks.values()), Demand(self._store, [job_id for job_id, _ in chunks]))
        note(tokens=activity.tokens - tokens, computed_tokens=activity.computed_tokens - computed)
        return results

    def compute(
        self, chunks: Sequence[list[wire.AnySample]], go_on: Callable[[], object] = lambda: None
    ) -> list[ChunkResult]:
        """Of each chunk the gradients of its samples, and why some have none; only the errors where any cannot be
        encoded.

        :param go_on: as the engine's `compute` has it.
        """
        encoded = [self._encoded(samples) for samples in chunks]
        whole = [pair for one in encoded if isinstance(one, EncodedChunk) for pair in one.pairs.values()]
        gradients = self._engine.compute(whole, go_on)
        results, start = [], 0
        for samples, one in zip(chunks, encoded, strict=True):
            end = start + (len(one.pairs) if isinstance(one, EncodedChunk) else 0)
            own = Gradients(gradients.values[start:end], gradients.out_of_memory[start:end])
            results.append(self._chunk_result(samples, one, own))
            start = end
        return results

    def _chunk_result(
        self, samples: list[wire.AnySample], encoded: EncodedChunk | SampleErrors, gradients: Gradients
    ) -> ChunkResult:
        """:param gradients: of the chunk's pairs, in their order."""
        ids = [str(sample.id) for sample in samples]
        languages = [sample.language for sample in samples]
        if isinstance(encoded, SampleErrors):
            none = Samples.of(np.zeros((0, self._engine.projection.dim), np.float32), languages)
            return ChunkResult(ids, none, truncated=[], errors=encoded.errors)
        pairs = encoded.pairs
        places = np.array(list(pairs), dtype=np.intp)
        values = np.zeros((len(samples), self._engine.projection.dim), np.float32)
        values[places] = gradients.values
        refused = dict.fromkeys(places[gradients.out_of_memory].tolist(), wire.Reason.OUT_OF_MEMORY)
        truncated = [index in pairs and pairs[index].truncated for index in range(len(samples))]
        hashes = [self._engine.seen(pairs[index]).digest if index in pairs else None for index in range(len(samples))]
        ratios = [length_ratio(sample) for sample in samples]
        own = Samples.of(values, languages, encoded.missing | refused)
        return ChunkResult(ids, own, truncated, [], hashes, ratios)

    def _encoded(self, samples: list[wire.AnySample]) -> EncodedChunk | SampleErrors:
        try:
            return EncodedChunk(*self._encode(samples))
        except SampleErrors as error:
            return error

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
