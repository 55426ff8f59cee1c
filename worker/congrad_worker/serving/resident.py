"""The checkpoint that a process has in memory: one at a time, and all who use or change it take turns."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from congrad.contract import wire

from congrad_worker.activity import Activity
from congrad_worker.checkpoints.adapters import Arrangement, base_model, leaves_its_base, take_off
from congrad_worker.checkpoints.checkpoint import Base, Checkpoint, load_base
from congrad_worker.checkpoints.files import CheckpointFiles
from congrad_worker.errors import CheckpointError, NothingServedError
from congrad_worker.gradients.device import is_out_of_memory
from congrad_worker.serving.served import Identity, Served, ready, serve
from congrad_worker.serving.weights import (
    Places,
    drop,
    give_host_memory_back,
    give_memory_back,
    given_back_on_failure,
    offload,
    put_back,
)
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aside:
    """A checkpoint on the base that is in memory, which is not on it just now, and can be at once."""

    served: Served
    arrangement: Arrangement


@dataclass(frozen=True)
class Asleep:
    """Where the weights are of what sleeps. At ``discard`` there is no ``checkpoint``."""

    level: wire.SleepLevel
    checkpoint: Checkpoint | None = None
    places: Places | None = None


class Resident:
    """What is in memory.

    :param files: what is loaded at first.
    :raises CheckpointError: it cannot be served.
    """

    def __init__(self, store: Store, files: CheckpointFiles, settings: GradientSettings):
        self.activity = Activity()
        self._lock = threading.RLock()
        self._store = store
        self._aside: Aside | None = None
        self._asleep: Asleep | None = None
        self._used = time.monotonic()
        self._base: Base | None = load_base(files, settings)
        self._served: Served | None = serve(self._base, files, settings, store, self.activity)
        self.identity = self._served.identity
        files.check_unchanged()

    @property
    def asleep(self) -> wire.SleepLevel | None:
        """How deep it sleeps; None while it is awake."""
        sleeping = self._asleep
        return sleeping.level if sleeping is not None else None

    @property
    def idle_s(self) -> float:
        """Seconds since there was work."""
        return time.monotonic() - self._used

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else uses or changes it for the time of the block."""
        with self._lock:
            yield

    @contextmanager
    def at_work(self) -> Iterator[Served]:
        """What is served, awake, for the time of the block; nobody changes it meanwhile.

        :raises CheckpointError: it was asleep, and cannot be had again.
        :raises torch.OutOfMemoryError: it was asleep, and its device has no room for it now.
        """
        with self._lock:
            self.wake()
            assert self._served is not None
            try:
                yield self._served
            finally:
                self._used = time.monotonic()

    def sleep(self, level: wire.SleepLevel) -> None:
        """Gives the memory of the weights back. What sleeps already may sleep deeper, and not less deep."""
        with self._lock:
            if self.asleep in (level, "discard"):
                return
            checkpoint = self._served.checkpoint if self._served is not None else None
            places = _offloaded(checkpoint) if level == "offload" and checkpoint is not None else None
            self._served = self._aside = None
            if places is not None:
                self._asleep = Asleep("offload", checkpoint, places)
            else:
                self._base, self._asleep = None, Asleep("discard")
            del checkpoint
            give_memory_back()
            log.info("%s is asleep (%s)", self.identity.files.name, self._asleep.level)

    def wake(self) -> None:
        """Has it ready for work. Where that cannot be, it sleeps on, and takes up no more memory than before.

        :raises CheckpointError: it cannot be had again.
        :raises torch.OutOfMemoryError: its device has no room for it now.
        """
        with self._lock:
            if (sleeping := self._asleep) is None:
                return
            try:
                with given_back_on_failure():
                    self._have_back(sleeping)
            except CheckpointError as error:  # loading tells of all that fails alike
                if error.__cause__ is not None and is_out_of_memory(error.__cause__):
                    raise error.__cause__ from None
                raise
            self._asleep, self._used = None, time.monotonic()
            give_host_memory_back()
            log.info("%s is awake", self.identity.files.name)

    def replace(self, files: CheckpointFiles, settings: GradientSettings, note: Callable[[wire.Stage], None]) -> None:
        """Serves another checkpoint from now on; where that cannot be, what was served still is.

        :param note: is told what is done.
        :raises CheckpointError: it cannot be served.
        :raises NothingServedError: nor can what was served.
        """
        with self._lock:
            note("loading")
            if self._shares_base(files) and self._has_woken():
                self._put_on(files, settings, note)
            else:
                self._load_instead(files, settings, note)
            self._used = time.monotonic()

    @contextmanager
    def back_to(self, files: CheckpointFiles, settings: GradientSettings) -> Iterator[Served]:
        """A checkpoint that was served before, for the time of the block.

        :raises CheckpointError: it cannot be had any more.
        :raises NothingServedError: nor can what is served.
        """
        with self._lock:
            try:
                self.wake()
            except CheckpointError as error:  # its own fault, and not that of what is gone back to
                raise NothingServedError(str(error)) from error
            base = self._base
            assert base is not None
            if not self._is_aside(files) and not self._shares_base(files):
                with self._instead(files, settings) as served:
                    yield served
                return
            now = Arrangement(base.model)
            try:
                yield self._put_aside_on(base, files, settings)
            finally:
                now.restore()

    def forget_aside(self) -> None:
        """Nobody will ask for what was served before."""
        with self._lock:
            self._aside = None

    def tidy(self) -> None:
        """Gives back what earlier checkpoints have left behind. To look for it takes half a second: not while somebody
        waits."""
        with self._lock:
            give_memory_back()

    def _has_woken(self) -> bool:
        """Whether what is served can be had at all. Of what sleeps without its weights, a trainer may have deleted or
        overwritten the adapter by the time that the next one is published."""
        try:
            self.wake()
        except CheckpointError as error:
            log.info("%s is replaced as a whole, since it cannot be woken: %s", self.identity.files.name, error)
            return False
        return True

    def _shares_base(self, files: CheckpointFiles) -> bool:
        """Whether a checkpoint can be put on the base that is in memory."""
        is_plain = files.adapter is None or leaves_its_base(files.adapter)
        return is_plain and self.identity.leaves_base and files.has_base_of(self.identity.files)

    def _is_aside(self, files: CheckpointFiles) -> bool:
        return self._aside is not None and self._aside.served.identity.fingerprint == files.fingerprint

    def _put_on(self, files: CheckpointFiles, settings: GradientSettings, note: Callable[[wire.Stage], None]) -> None:
        base, old = self._base, self._served
        assert base is not None
        assert old is not None
        before = Arrangement(base.model)
        try:
            take_off(old.checkpoint.model)
            note("verifying")
            new = serve(base, files, settings, self._store, self.activity)
            files.check_unchanged(adapter_only=True)
        except BaseException as error:
            before.restore()
            if isinstance(error, CheckpointError) or not isinstance(error, Exception):
                raise
            raise CheckpointError(_said(error)) from error
        self._become(new, Aside(old, before))

    def _load_instead(
        self, files: CheckpointFiles, settings: GradientSettings, note: Callable[[wire.Stage], None]
    ) -> None:
        old = self.identity
        # What is in memory is not given up for what cannot come: its own files may be others by now too, and then it
        # could not be had again.
        files.check_unchanged()
        self._drop()
        failure = None
        try:
            with given_back_on_failure():
                self._base, new = self._loaded(files, settings, note)
        except Exception as error:
            failure = str(error) if isinstance(error, CheckpointError) else _said(error)
        if failure is None:
            self._become(new, None)
            return
        self._have_again(old)
        raise CheckpointError(failure)

    def _loaded(
        self, files: CheckpointFiles, settings: GradientSettings, note: Callable[[wire.Stage], None]
    ) -> tuple[Base, Served]:
        """By itself: an error that passes through it leaves nothing of what it has loaded."""
        base = load_base(files, settings)
        note("verifying")
        new = serve(base, files, settings, self._store, self.activity)
        files.check_unchanged()
        return base, new

    @contextmanager
    def _instead(self, files: CheckpointFiles, settings: GradientSettings) -> Iterator[Served]:
        own = self.identity
        self._drop()
        served = None
        try:
            with given_back_on_failure():
                served = serve(load_base(files, settings), files, settings, self._store, self.activity)
                files.check_unchanged()
                yield served
        finally:
            if served is not None:  # whoever was given it has it in a variable still
                drop(served.checkpoint.models)
            give_memory_back()
            self._have_again(own)

    def _put_aside_on(self, base: Base, files: CheckpointFiles, settings: GradientSettings) -> Served:
        aside = self._aside
        if aside is not None and self._is_aside(files):
            aside.arrangement.restore()
            return aside.served
        assert self._served is not None
        take_off(self._served.checkpoint.model)
        served = serve(base, files, settings, self._store, self.activity)
        files.check_unchanged(adapter_only=True)
        return served

    def _become(self, new: Served, aside: Aside | None) -> None:
        self._served, self._aside, self.identity = new, aside, new.identity

    def _drop(self) -> None:
        self._served = self._aside = self._base = self._asleep = None
        give_memory_back()

    def _have_again(self, identity: Identity) -> None:
        try:
            self._load(identity)
        except Exception as error:
            raise NothingServedError(f"{identity.files.name} cannot be had again: {_said(error)}") from error

    def _have_back(self, sleeping: Asleep) -> None:
        own = self.identity
        if sleeping.checkpoint is None:
            self._load(own)
            return
        with put_back(sleeping.places or []):
            checkpoint, layouts = sleeping.checkpoint, own.layouts
            self._served = ready(checkpoint, own.files, own.settings, self._store, self.activity, layouts)

    def _load(self, identity: Identity) -> None:
        files, settings = identity.files, identity.settings
        files.check_unchanged()
        base = load_base(files, settings)
        served = serve(base, files, settings, self._store, self.activity, identity.layouts)
        files.check_unchanged()
        self._base, self._served = base, served


def _offloaded(checkpoint: Checkpoint) -> Places | None:
    """Where its weights were, which are on the host now; None where they cannot be there."""
    if getattr(base_model(checkpoint.model), "is_quantized", False):  # what bitsandbytes has quantised cannot be moved
        return None
    try:
        return offload(checkpoint.models)
    except RuntimeError as error:
        log.warning("%s is dropped: the host has no room for its weights (%s)", checkpoint.name, error)
        return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
