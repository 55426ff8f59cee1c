"""One question of several processes: the main one asks, and all are given its answer, or fail with it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from congrad.errors import CongradError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def once(accelerator: "Accelerator", make: Callable[[], T]) -> T:
    """What the main process makes. The others wait for it, as long as their collectives do (``ddp_timeout``).

    :raises CongradError: in the others, where it has failed in the main one.
    :raises ValueError: the processes cannot tell each other anything.
    """
    from accelerate.utils import DistributedType, broadcast_object_list

    if accelerator.num_processes > 1 and accelerator.distributed_type is DistributedType.NO:
        # What accelerate makes of a launch for GPUs where there are none: it broadcasts nothing, nor any gradient.
        raise ValueError(
            f"accelerate has {accelerator.num_processes} processes of which each would train alone: on a machine "
            "without GPUs the training arguments need use_cpu=True"
        )
    answer: list[Any] = [None, None]
    failure: Exception | None = None
    if accelerator.is_main_process:
        try:
            answer[0] = make()
        except Exception as error:  # or the others would wait for ever
            failure, answer[1] = error, f"{type(error).__name__}: {error}"
    if accelerator.num_processes > 1:
        broadcast_object_list(answer)
    if failure is not None:
        raise failure
    if answer[1] is not None:
        raise CongradError(f"the main process failed: {answer[1]}")
    made: T = answer[0]
    return made
