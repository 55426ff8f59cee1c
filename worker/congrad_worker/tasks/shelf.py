"""The gradients of chunks in a gradient store: what Redis has of them, and which of them are in memory."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from functools import partial

import numpy as np

from congrad_worker.decisions.rows.parts import Part, PartedSamples
from congrad_worker.errors import ShardDamagedError, ShardGoneError
from congrad_worker.shards import ShardStore
from congrad_worker.tasks.records import ChunkResult, Measured

REFERENCE = b"shard:"
"""What a reference in Redis begins with. No safetensors does: those bytes would be a header of 10¹⁴ bytes."""

MAX_BYTES = 2**27
"""Of the gradients that are in memory: those of the largest request at the default D."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
"""What a file that is cut off, or another, is to who parses it."""

log = logging.getLogger(__name__)


def is_reference(kept: bytes) -> bool:
    """Whether it is the name of a file, and not gradients."""
    return kept.startswith(REFERENCE)


class Shelf:
    """Chunks in a gradient store, the latest of them in memory: as many as `MAX_BYTES` hold, and at least one.

    :param bits: of a number in what is written.
    """

    def __init__(self, shards: ShardStore, bits: int = 16, max_bytes: int = MAX_BYTES):
        self.shards = shards
        self._bits = bits
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, ChunkResult] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()  # of what is held: who frees files is not who reads them

    def put(self, job_id: str, number: int, result: ChunkResult) -> bytes:
        """Writes a chunk's gradients; the reference to them.

        :raises ShardStoreError: they cannot be written now.
        """
        return REFERENCE + self.shards.put(job_id, f"{number:06d}", result.dump(self._bits)).encode()

    def get(self, reference: bytes) -> ChunkResult | None:
        """A chunk whose gradients are read again where they are no longer in memory; None where it is gone.

        :raises ShardDamagedError: the file is not as it was written.
        :raises ShardStoreError: it cannot be read now.
        """
        name = reference.removeprefix(REFERENCE).decode()
        result = self._chunk(name)
        if result is None or not len(result.samples.units):  # samples that could not be encoded have no rows
            return result
        own = result.samples
        none = np.zeros((0, own.dim), own.units.dtype)
        parts = [Part(len(result.ids), partial(self._units, name))]
        return replace(result, samples=PartedSamples(none, own.norms, own.languages, parts))

    def put_measured(self, job_id: str, version: str, measured: Measured) -> None:
        """Writes what a job's samples are to a version of a direction.

        :raises ShardStoreError: it cannot be written now.
        """
        self.shards.put_as(_measured(job_id, version), measured.dump())

    def measured(self, job_id: str, version: str) -> Measured | None:
        """What `put_measured` has written; None where that was nothing.

        :raises ShardStoreError: it cannot be read now.
        """
        name = _measured(job_id, version)
        content = self.shards.get(name)
        try:
            return None if content is None else Measured.parse(content)
        except UNREADABLE:
            log.warning("%s is damaged in the gradient store; what it says is found out again", name)
            return None

    @property
    def jobs(self) -> set[str]:
        """Those of which something is in memory."""
        with self._lock:
            return {_job_of(name) for name in self._held}

    def forget(self, jobs: Collection[str]) -> None:
        """Has nothing of some jobs in memory any more. A file that is mapped may not go: NFS renames it, and its folder
        is not empty then."""
        with self._lock:
            for name in [name for name in self._held if _job_of(name) in jobs]:
                self._bytes -= self._held.pop(name).samples.units.nbytes

    def _chunk(self, name: str) -> ChunkResult | None:
        """From memory, or else from the store."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
        content = self.shards.view(name)
        if content is None:
            return None
        try:
            result = ChunkResult.parse(content)
        except UNREADABLE as error:
            raise ShardDamagedError(f"{name} is damaged in the gradient store") from error
        with self._lock:
            self._hold(name, result)
        return result

    def _hold(self, name: str, result: ChunkResult) -> None:
        self._held[name] = result
        self._bytes += result.samples.units.nbytes
        while self._bytes > self._max_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.samples.units.nbytes

    def _units(self, name: str) -> np.ndarray:
        result = self._chunk(name)
        if result is None:
            raise ShardGoneError(f"{name} is no longer in the gradient store")
        return result.samples.units


def _job_of(name: str) -> str:
    return name.partition("/")[0]


def _measured(job_id: str, version: str) -> str:
    return f"{job_id}/{version}.products"
