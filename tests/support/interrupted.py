"""Something that happens in the middle of a decision."""

from collections.abc import Callable
from typing import Any

from congrad_worker.decisions.memory import Memory
from congrad_worker.tasks.states import DirectionRecord
from congrad_worker.tasks.store import Store


class Interrupted(Store):
    """A worker's store to which something happens after a direction was read for the first time, or was found in
    memory."""

    happening: Callable[[], object] | None = None

    def direction(self, name: str) -> DirectionRecord:
        read = super().direction(name)
        self._happen()
        return read

    def recall(self, *arguments: Any, **named: Any) -> Memory | None:
        self._happen()
        return super().recall(*arguments, **named)

    def commit(self, *arguments: Any, **named: Any) -> str:
        self._happen()
        return super().commit(*arguments, **named)

    def _happen(self) -> None:
        happening, self.happening = self.happening, None
        if happening is not None:
            happening()
