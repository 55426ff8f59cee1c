"""Work that came late: for a checkpoint whose place another has taken."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from congrad_service import keys

from congrad_worker.checkpoints.files import CheckpointFiles, locate
from congrad_worker.errors import CheckpointError, NothingServedError
from congrad_worker.serving.desk import Desk
from congrad_worker.serving.reasons import without_folders
from congrad_worker.serving.resident import Resident
from congrad_worker.serving.served import Identity, Served
from congrad_worker.settings import GradientSettings

ASIDE_S = 60.0
"""How long an adapter that was replaced is kept in memory for it."""

MOST_PREVIOUS = 4
"""Checkpoints that the worker goes back to: one that ends at work for an earlier one leaves it to others, which may be
some publications further by then."""

log = logging.getLogger(__name__)


@dataclass
class Previous:
    """What was served before; its files as they were looked at, where this process has. ``is_over`` is whether nobody
    serves it any more, and all traces of it are gone."""

    fingerprint: str
    settings: GradientSettings
    files: CheckpointFiles | None = None
    is_over: bool = False

    def located(self) -> CheckpointFiles:
        """Its files.

        :raises CheckpointError: they are no longer what they were.
        """
        files = self.files or locate(self.settings)
        if files.fingerprint != self.fingerprint:
            raise CheckpointError(f"{files.name}: its files are no longer those of {self.fingerprint}")
        return files


class LateWork:
    """What is left of the checkpoints that a worker served before.

    :param work: does what waits for a checkpoint, as far as one batch holds it; whether there was anything.
    :param forget_queue: has the broker forget one.
    :param previous: what was served before by an earlier process.
    """

    def __init__(
        self,
        desk: Desk,
        resident: Resident,
        work: Callable[[Served], bool],
        forget_queue: Callable[[str], None],
        previous: Previous | None,
    ):
        self._desk = desk
        self._resident = resident
        self._work = work
        self._forget_queue = forget_queue
        self._previous = [] if previous is None else [previous]  # the latest first
        self._replaced_at = time.monotonic()

    def replaced(self, old: Identity, new: str) -> None:
        """A checkpoint has lost its place.

        :param new: the fingerprint of what has it now.
        """
        others = [one for one in self._previous if one.fingerprint not in (old.fingerprint, new)]
        self._previous = [Previous(old.fingerprint, old.settings, old.files), *others][:MOST_PREVIOUS]
        self._replaced_at = time.monotonic()

    def do(self) -> None:
        """Does what waits for each of them, and removes the traces of each once nobody serves it.

        :raises NothingServedError: what is served now is not in memory any more, and cannot be read again.
        """
        for previous in tuple(self._previous):
            self._go_back_to(previous)

    def _go_back_to(self, previous: Previous) -> None:
        queue = keys.gradients_queue(previous.fingerprint)
        is_waiting = self._desk.waiting(queue) > 0
        if not is_waiting and previous is self._previous[0] and time.monotonic() > self._replaced_at + ASIDE_S:
            self._resident.forget_aside()
        if (not is_waiting and previous.is_over) or previous.fingerprint in self._desk.serving().values():
            return
        if is_waiting and not self._has_done_late(previous, queue):
            return
        self._forget_queue(queue)
        self._desk.lapse(previous.fingerprint)
        previous.is_over = True

    def _has_done_late(self, previous: Previous, queue: str) -> bool:
        """Whether nothing is left of it."""
        try:
            with self._resident.back_to(previous.located(), previous.settings) as served:
                log.info("%s is served once more, for what came late", served.identity.files.name)
                while self._work(served):
                    pass
        except NothingServedError:
            raise
        except CheckpointError as error:
            if previous is not self._previous[0]:  # a worker that has served it since may have it in memory still
                self._previous = [one for one in self._previous if one is not previous]
                log.warning("what waits for %s is left to others: %s", previous.fingerprint, error)
                return False
            log.warning("what waited for %s is given up: %s", previous.fingerprint, error)
            reason = without_folders(str(error), previous.settings.model, previous.settings.adapter)
            self._desk.give_up_waiting(queue, f"the checkpoint that it waited for is no longer served: {reason}")
        return True
