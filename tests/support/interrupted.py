"""Something that happens in the middle of a decision."""

from collections.abc import Callable

from congrad_worker.tasks.records import DirectionRecord
from congrad_worker.tasks.store import Store


class Interrupted(Store):
    """A worker's store to which something happens after a direction was looked at for the first time, whether it had to
    be read or was in memory."""

    happening: Callable[[], object] | None = None

    def direction(self, name: str) -> DirectionRecord:
        read = super().direction(name)
        self._happen()
        return read

    def standing(self, name: str) -> tuple[str, int]:
        found = super().standing(name)
        self._happen()
        return found

    def _happen(self) -> None:
        happening, self.happening = self.happening, None
        if happening is not None:
            happening()
