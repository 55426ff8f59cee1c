"""Directions that a decide worker has in memory, so that the vectors are not read for every request."""

from collections import OrderedDict

from congrad_worker.tasks.states import DirectionRecord, Mark
from congrad_worker.tasks.store import Store

MAX_BYTES = 2**29
"""Of all together: that of some hundred directions of ten languages, or of a dozen with 256."""


class Directions:
    """The latest directions as they were read or written, each checked against its mark in Redis before it is used.

    Another worker's commit, a reset or an import changes the mark, and with a stale one no commit goes through.
    """

    def __init__(self, store: Store, max_bytes: int = MAX_BYTES):
        self._store = store
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, DirectionRecord] = OrderedDict()
        self._bytes = 0

    def read(self, name: str, standing: Mark | None = None) -> DirectionRecord:
        """The direction as it stands.

        :param standing: its mark, where that has just been read.
        """
        held = self._held.get(name)
        if held is not None and held.mark == (standing or self._store.standing(name)):
            self._held.move_to_end(name)
            return held
        read = self._store.direction(name)
        self.keep(name, read)
        return read

    def keep(self, name: str, record: DirectionRecord) -> None:
        """Remembers what a direction is now, and forgets those that were not used for longest."""
        self._forget(name)
        if 0 < record.bytes <= self._max_bytes:
            self._held[name] = record
            self._bytes += record.bytes
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._held)))

    def _forget(self, name: str) -> None:
        held = self._held.pop(name, None)
        self._bytes -= 0 if held is None else held.bytes
