"""What two passes take up in Redis, and whether there is room for it: asked before anything is sent."""

from congrad.errors import APIStatusError, NoRoomError
from congrad.protocol import calls
from congrad.protocol.answers.replies import CHECKPOINTS, QUEUE
from congrad.protocol.calls import Call, HttpRequest
from congrad.protocol.policy import Policy

BESIDE = 512
"""Bytes of a sample's norm, id and keys, as the service counts them."""

ANSWERS = 1024
"""Bytes of a sample's two decisions, of what it was when it was folded in, and of Redis's own."""


def check_room(samples: int, checkpoint: str | None, policy: Policy, *, is_again: bool = False) -> Call[int]:
    """The bytes of Redis that two passes over so many samples take up at most, until the second one has scored them; 0
    where no worker is there to say. Gradients in a gradient store are none of them.

    :param checkpoint: name or fingerprint of that which scores them, where there are several.
    :param is_again: whether what is retained already may be of the same samples.
    :raises NoRoomError: there is less.
    """
    served = yield from calls.request(HttpRequest("GET", "/checkpoints"), CHECKPOINTS, policy)
    named = [one for one in served if checkpoint in (None, one.name, one.fingerprint)]
    if not named:  # how long its gradients are is not known before a worker is there
        return 0
    dim = max(one.projection.dim for one in named)
    try:
        room = (yield from calls.request(HttpRequest("GET", "/queue"), QUEUE, policy)).room
    except APIStatusError:  # its broker does not answer: whether there is room is seen when a request comes
        room = None
    own = dim * (16 if room is None else room.bits) // 8 + BESIDE
    is_in_redis = room is None or room.store == "redis"
    needed = samples * (own + ANSWERS if is_in_redis else ANSWERS)
    if room is not None:
        ours = room.retained_bytes if is_again else 0
        left = room.limit_bytes - room.retained_bytes + ours
        if samples * own > left:
            raise _no_room(samples, "the gradients", samples * own, left, "CONGRAD_MAX_RETAINED_BYTES")
        free = None if room.free_bytes is None else room.free_bytes + (ours if is_in_redis else 0)
        if free is not None and needed > free:
            what = "the gradients" if is_in_redis else "two decisions on each"
            raise _no_room(samples, what, needed, free, "Redis's maxmemory")
    return needed


def _no_room(samples: int, what: str, needed: int, left: int, bound: str) -> NoRoomError:
    return NoRoomError(
        f"two passes keep {what} of all {samples:,} samples until they are scored, {mib(needed)}, and there is room "
        f"for {mib(max(left, 0))} ({bound}); one pass keeps none"
    )


def mib(count: int) -> str:
    """Bytes, to be read."""
    return f"{count / 2**20:,.1f} MiB"
