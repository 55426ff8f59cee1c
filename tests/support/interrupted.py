"""Something that happens in the middle of a decision."""

from collections.abc import Callable

from congrad_worker.tasks.records import DirectionRecord
from congrad_worker.tasks.store import Store


class Interrupted(Store):
    """A worker's store to which something happens after a direction was read for the first time."""

    happening: Callable[[], object] | None = None

    def direction(self, name: str) -> DirectionRecord:
        read = super().direction(name)
        if self.happening is not None:
            happening, self.happening = self.happening, None
            happening()
        return read
