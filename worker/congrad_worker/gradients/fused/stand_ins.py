"""What stands in for functions of a model's own."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class StandIns:
    """Functions in place of others for as long as an engine runs the model. They hold on to its weights, and go when
    these move.

    :param found: whose function, its name, and what stands in for it.
    """

    def __init__(self, found: Iterable[tuple[Any, str, Any]]):
        self._found = list(found)

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model's own again after the block. Functions belong to the process: nothing else may run a model
        meanwhile, and a worker has one thread."""
        before = [(owner, name, vars(owner).get(name)) for owner, name, _ in self._found]
        try:
            for owner, name, stand_in in self._found:
                setattr(owner, name, stand_in)
            yield
        finally:
            for owner, name, own in before:
                if own is None:  # that of its class
                    delattr(owner, name)
                else:
                    setattr(owner, name, own)
