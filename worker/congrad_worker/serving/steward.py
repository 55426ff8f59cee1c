"""A thread that looks after what the process has in memory: it publishes, puts to sleep, wakes, and goes back for work
that came late."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from congrad.contract import wire
from congrad_service import keys
from congrad_service.access.models import Allowed
from congrad_service.queue.publication import Asked, Successor
from redis.exceptions import RedisError

from congrad_worker.checkpoints.files import READ, CheckpointFiles, locate, relocate
from congrad_worker.errors import CheckpointError, NothingServedError
from congrad_worker.gradients.device import is_out_of_memory
from congrad_worker.serving.desk import Desk
from congrad_worker.serving.late_work import LateWork, Previous
from congrad_worker.serving.reasons import without_folders
from congrad_worker.serving.resident import Resident
from congrad_worker.serving.served import Identity, Served
from congrad_worker.settings import GradientSettings

LOOK_S = 1.0
"""Between two looks, where it is told nothing."""

DRAIN_S = 0.1
"""Between two looks at what still waits for the checkpoint that is replaced."""

BEGIN_S = 2.0
BEGIN_LOOK_S = 0.05
"""For so long, and so often, work for a new checkpoint is looked for where it waits: the broker takes a second until it
hands out the messages of another queue."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """What the worker was started on."""

    fingerprint: str
    settings: GradientSettings


@dataclass(frozen=True)
class Surroundings:
    """What the steward tells of a change, and what it needs of the process around it.

    :param work: does what waits for a checkpoint, as far as one batch holds it; whether there was anything.
    :param announce: everybody, from now on: the parent, the heartbeat, metrics.
    :param beat: says at once how the worker is doing.
    :param forget_queue: has the broker forget one.
    :param give_up: ends the worker with a message.
    """

    work: Callable[[Served], bool]
    announce: Callable[[Identity], None]
    beat: Callable[[], None]
    forget_queue: Callable[[str], None]
    give_up: Callable[[str], None]


class Steward:
    """Looks after a `Resident` until it is stopped.

    :param origin: what the worker was started on.
    :param previous: what was served before by an earlier process.
    """

    def __init__(
        self, desk: Desk, resident: Resident, around: Surroundings, origin: Origin, previous: Previous | None = None
    ):
        self.order = 0
        """The number of the last one that was done."""
        self._desk = desk
        self._resident = resident
        self._around = around
        self._origin = origin
        self._late = LateWork(desk, resident, around.work, around.forget_queue, previous)
        self._failed: set[str] = set()  # publications
        self._outbox: deque[Callable[[], None]] = deque()  # what has to be said, as soon as Redis hears it
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steward", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what takes longer than a moment is left to whoever comes next."""
        self._stopped.set()
        self._thread.join(timeout=LOOK_S)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._desk.wait(LOOK_S)
                self.look()
            except NothingServedError as error:
                self._around.give_up(str(error))
            except RedisError as error:
                log.warning("could not look for what there is to do: %s", error)
                self._stopped.wait(LOOK_S)
            except Exception as error:  # the next look is another try, and must come
                if is_out_of_memory(error):  # others have the device, a trainer that publishes perhaps
                    log.warning("the device has no room for what there is to do: %s", error)
                else:
                    log.exception("%s", type(error).__name__)
                self._stopped.wait(LOOK_S)

    def look(self) -> None:
        """Does what there is to do."""
        self._flush()
        self._obey()
        while self._publish():
            pass
        self._late.do()
        self._doze()

    def _flush(self) -> None:
        while self._outbox:
            self._outbox[0]()
            self._outbox.popleft()

    def _obey(self) -> None:
        order = self._desk.order()
        if order is None or order.number <= self.order:
            return
        if order.level is None:
            if not self._has_woken():
                return
        elif not self._is_put_to_sleep(order.level):
            return
        self.order = order.number
        self._around.beat()

    def _has_woken(self) -> bool:
        try:
            self._resident.wake()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            log.warning("the device has no room to wake up: %s", error)
            return False
        except CheckpointError as error:
            raise NothingServedError(str(error)) from error
        return True

    def _is_put_to_sleep(self, level: wire.SleepLevel) -> bool:
        with self._resident.alone():
            if self._desk.waiting(self._resident.identity.queue):  # it would wake at once
                return False
            self._resident.sleep(level)
        return True

    def _doze(self) -> None:
        resident, seconds = self._resident, self._origin.settings.idle_sleep
        if seconds is None or resident.asleep is not None or resident.idle_s < seconds:
            return
        # On a CPU the host's memory is where weights are already.
        level: wire.SleepLevel = "discard" if resident.identity.announcement.device == "cpu" else "offload"
        with resident.alone():
            if resident.idle_s >= seconds and self._is_put_to_sleep(level):
                self._around.beat()

    def _asked(self) -> Asked | None:
        """What is to take the place of what is served."""
        asked = self._desk.asked(self._resident.identity.fingerprint)
        return None if asked is None or asked.id in self._failed else asked

    def _publish(self) -> bool:
        """Whether something else is served now, in whose place the next may have been published meanwhile."""
        asked = self._asked()
        if asked is None:
            return False
        try:
            self._note(asked, "hashing")
            settings, files = self._looked_at(asked)
            self._desk.name(asked, files.name, files.fingerprint)
            if files.fingerprint != self._resident.identity.fingerprint:
                self._drain(asked)
                if not self._stopped.is_set():
                    self._replace(asked, files, settings)
                    return True
            else:
                self._desk.settle(asked)
        except NothingServedError:
            raise
        except (CheckpointError, ValueError, OSError) as error:
            self._fail(asked, str(error))
        return False

    def _looked_at(self, asked: Asked) -> tuple[GradientSettings, CheckpointFiles]:
        """What was asked for, as it lies on this machine.

        :raises CheckpointError: it cannot be served.
        :raises ValueError: the operator has not allowed it.
        """
        own = self._resident.identity
        settings = _with(own.settings, asked)
        for source in (asked.model, asked.adapter):
            if source is not None:
                self._check_allowed(source)
        files = relocate(own.files, settings) if asked.model is None else locate(settings)
        earlier = self._desk.named(asked)
        if earlier not in (None, files.fingerprint):
            raise CheckpointError(f"{files.name}: its files are others than those that were published")
        return settings, files

    def _check_allowed(self, source: str) -> None:
        first = self._origin.settings
        if source in (first.model, first.adapter):  # the operator's own
            return
        allowed = Allowed(first.models)
        allowed.check(source)
        if source.startswith("/"):
            if (folder := Path(source)).is_dir():
                allowed.check_files(folder, READ)
        elif Path(source).exists():  # would be taken for the model on the hub
            raise ValueError(f"{source!r} is a folder where the worker runs; the whole path is needed")

    def _drain(self, asked: Asked) -> None:
        """Lets pass what waited before the publication was asked for."""
        queue, last = self._resident.identity.queue, None
        while (waiting := self._desk.waiting(queue, asked.sequence)) and not self._stopped.is_set():
            if waiting != last:
                self._note(asked, "draining", waiting)
                last = waiting
            self._stopped.wait(DRAIN_S)

    def _replace(self, asked: Asked, files: CheckpointFiles, settings: GradientSettings) -> None:
        own = self._resident.identity
        self._resident.replace(files, settings, partial(self._note, asked))
        self._late.replaced(own, files.fingerprint)
        log.info("%s has taken the place of %s", files.name, own.files.name)
        self._outbox.append(partial(self._announce, asked, own))
        self._flush()
        self._late.do()
        self._begin()
        self._resident.tidy()

    def _announce(self, asked: Asked, previous: Identity) -> None:
        own = self._resident.identity
        self._desk.succeed(self._origin.fingerprint, _successor(own, asked.created, _successor(previous)))
        self._around.announce(own)
        self._desk.note(asked, "served")

    def _begin(self) -> None:
        """Does work for a new checkpoint until the broker hands it out, the next is published, or sleep is ordered."""
        end = time.monotonic() + BEGIN_S
        while time.monotonic() < end and not self._stopped.is_set():
            with self._resident.at_work() as served:
                self._around.work(served)
            if self._desk.wait(BEGIN_LOOK_S):
                self._obey()
                if self._resident.asleep is not None or self._asked() is not None:
                    return

    def _fail(self, asked: Asked, reason: str) -> None:
        log.error("publication %s has failed: %s", asked.id, reason)
        reason = without_folders(reason, asked.model, asked.adapter)
        self._failed.add(asked.id)
        self._outbox.append(partial(self._desk.note, asked, "failed", None, reason))
        self._outbox.append(partial(self._give_up_jobs, asked, reason))
        self._flush()

    def _give_up_jobs(self, asked: Asked, reason: str) -> None:
        """Those that wait for what was published, where no other worker can have it either."""
        fingerprint = self._desk.named(asked)
        serving = self._desk.serving().values()
        others = sum(one in (asked.replaces, fingerprint) for one in serving) - 1
        if fingerprint is not None and others <= 0:
            detail = f"the checkpoint that it waited for cannot be served: {reason}"
            self._desk.give_up_waiting(keys.gradients_queue(fingerprint), detail)

    def _note(self, asked: Asked, stage: wire.Stage, waiting: int | None = None) -> None:
        """Nothing depends on it."""
        with suppress(RedisError):
            self._desk.note(asked, stage, waiting)


def _with(settings: GradientSettings, asked: Asked) -> GradientSettings:
    """The settings of what was asked for: without a model, an adapter on the same one."""
    model = settings.model if asked.model is None else asked.model
    return settings.model_copy(update={"model": model, "adapter": asked.adapter})


def _successor(identity: Identity, created: float = 0.0, previous: Successor | None = None) -> Successor:
    return Successor(
        fingerprint=identity.fingerprint,
        model=identity.settings.model,
        adapter=identity.settings.adapter,
        created=created,
        previous=previous,
    )
