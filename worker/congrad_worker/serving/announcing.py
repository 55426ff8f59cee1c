"""What a gradients worker says of itself."""

from congrad.contract import wire
from congrad_service.queue.registry import Announcement

from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.files import CheckpointFiles
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.modules import coverage
from congrad_worker.settings import GradientSettings


def announce(
    files: CheckpointFiles, settings: GradientSettings, checkpoint: Checkpoint, engine: GradientEngine
) -> Announcement:
    """The announcement of a loaded checkpoint; no path of this machine is in it."""
    named = settings.reference in ("policy", "base")
    return Announcement(
        name=files.name,
        fingerprint=files.fingerprint,
        loss=settings.loss,
        beta=settings.beta,
        reference=settings.reference if named else "model",
        projection=wire.Projection(
            kind=settings.projection,
            rank=None if settings.projection == "exact" else settings.projection_rank,
            dim=engine.projection.dim,
            seed=settings.seed,
        ),
        target_modules=settings.target_modules,
        layers=settings.layers,
        unit_gradients=settings.unit_gradients,
        modules=len(engine.modules),
        coverage=round(coverage(checkpoint.model, engine.modules), 4),
        shared_prompts=engine.layouts != (TWO_ROWS,),
        max_length=checkpoint.max_length,
        dtype=str(checkpoint.dtype).removeprefix("torch."),
        device=str(checkpoint.device),
    )
