"""A checkpoint that is served: loaded, checked, and ready for chunks."""

from collections.abc import Sequence
from dataclasses import dataclass

from congrad_service import keys
from congrad_service.queue.registry import Announcement

from congrad_worker.activity import Activity
from congrad_worker.checkpoints.adapters import leaves_its_base
from congrad_worker.checkpoints.checkpoint import Base, Checkpoint, adapted
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import CheckpointFiles
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.serving.announcing import announce
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks.chunks import ChunkProcessor
from congrad_worker.tasks.store import Store


@dataclass(frozen=True)
class Identity:
    """Which checkpoint it is: its files, under which settings, what is said of it, and the layouts that it was found to
    be exact in. It takes up no memory of a device.

    ``leaves_base`` says that its adapter, if it has any, can be taken off again.
    """

    files: CheckpointFiles
    settings: GradientSettings
    announcement: Announcement
    layouts: tuple[Layout, ...]
    leaves_base: bool

    @property
    def fingerprint(self) -> str:
        """Of the checkpoint."""
        return self.files.fingerprint

    @property
    def queue(self) -> str:
        """Where work for it waits."""
        return keys.gradients_queue(self.fingerprint)


@dataclass(frozen=True)
class Served:
    """It, and what computes with it."""

    identity: Identity
    checkpoint: Checkpoint
    processor: ChunkProcessor


def serve(
    base: Base,
    files: CheckpointFiles,
    settings: GradientSettings,
    store: Store,
    activity: Activity,
    layouts: Sequence[Layout] | None = None,
) -> Served:
    """Puts the adapter on its base, where there is one, and checks what comes of it.

    :param layouts: those that it was found to be exact in before: it is not checked again.
    :raises CheckpointError: it cannot be served.
    """
    return ready(adapted(base, files, settings), files, settings, store, activity, layouts)


def ready(
    checkpoint: Checkpoint,
    files: CheckpointFiles,
    settings: GradientSettings,
    store: Store,
    activity: Activity,
    layouts: Sequence[Layout] | None = None,
) -> Served:
    """The same, of a checkpoint that is in memory."""
    engine = verified_engine(checkpoint, settings) if layouts is None else GradientEngine(checkpoint, settings, layouts)
    engine.activity = activity
    encoder = Encoder(checkpoint.tokenizer, checkpoint.max_length, checkpoint.vocabulary)
    leaves_base = files.adapter is None or leaves_its_base(files.adapter)
    said = announce(files, settings, checkpoint, engine)
    identity = Identity(files, settings, said, engine.layouts, leaves_base)
    return Served(identity, checkpoint, ChunkProcessor(store, encoder, engine))
