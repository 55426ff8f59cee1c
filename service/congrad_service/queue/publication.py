"""A checkpoint on its way into running workers: what was asked for, and how far each worker is with it.

A publication is a hash, whose field ``asked`` is an `Asked`. A worker that has looked at the files adds the fields
``fingerprint`` and ``name``, and each worker its ``worker:ID``, a `wire.Loading`. A key for the checkpoint that is
replaced leads there: whatever is started again meanwhile finds it. All of it lapses by itself.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from congrad.contract import wire
from pydantic import BaseModel

MAX_DEATHS = 3
"""Workers that may end while they load one publication, before it is taken for what they die of."""


class Asked(BaseModel):
    """What was asked for. Jobs up to ``sequence`` were there before, and are done first. ``created`` is in seconds, by
    Redis's clock."""

    id: str
    replaces: str
    model: str | None
    adapter: str | None
    created: float
    sequence: int

    def is_same(self, request: wire.PublishRequest) -> bool:
        """Whether a request asks for this."""
        return (self.model, self.adapter) == (request.model, request.adapter)


class Successor(BaseModel):
    """What workers serve in place of the checkpoint that they were started on: where it lies, and what they served
    before it, if that was loaded from somewhere else than its own successor. ``created`` is when that was asked
    for, and 0 where an earlier release wrote it down."""

    fingerprint: str
    model: str
    adapter: str | None
    created: float = 0.0
    previous: "Successor | None" = None


def asked_in(raw: Mapping[bytes, bytes]) -> Asked:
    """What a publication's hash says was asked for."""
    return Asked.model_validate_json(raw[b"asked"])


def read(raw: Mapping[bytes, bytes], live: Mapping[str, str]) -> wire.Publication:
    """A publication as it stands.

    :param raw: its hash.
    :param live: fingerprints of what the live gradients workers serve, by their ids.
    """
    asked = asked_in(raw)
    workers = [wire.Loading.model_validate_json(text) for name, text in raw.items() if name.startswith(b"worker:")]
    status, error = _standing(workers, live, asked.replaces)
    return wire.Publication(
        id=asked.id,
        status=status,
        replaces=asked.replaces,
        name=(raw.get(b"name") or b"").decode() or None,
        fingerprint=(raw.get(b"fingerprint") or b"").decode() or None,
        created=datetime.fromtimestamp(asked.created, UTC),
        workers=sorted((one for one in workers if one.worker in live), key=lambda one: one.since),
        error=error,
    )


def _standing(
    workers: Sequence[wire.Loading], live: Mapping[str, str], replaces: str
) -> tuple[wire.PublicationStatus, str | None]:
    """The status, and why it failed."""
    stages = {one.worker: one.stage for one in workers}
    if "served" in stages.values():
        return wire.PublicationStatus.SERVED, None
    if error := deaths(workers, live):
        return wire.PublicationStatus.FAILED, error
    errors = [one.error for one in workers if one.stage == "failed"]
    waiting = [worker for worker, serves in live.items() if serves == replaces and stages.get(worker) != "failed"]
    if errors and not waiting:
        return wire.PublicationStatus.FAILED, errors[-1]
    if any(stages.get(worker) in ("loading", "verifying") for worker in live):
        return wire.PublicationStatus.LOADING, None
    return wire.PublicationStatus.WAITING, None


def deaths(workers: Sequence[wire.Loading], live: Mapping[str, str]) -> str | None:
    """Why a publication is given up that workers die of; None as long as they do not."""
    dead = [one for one in workers if one.worker not in live and one.stage in ("loading", "verifying")]
    return f"it was given up: {len(dead)} workers have ended while they loaded it" if len(dead) >= MAX_DEATHS else None
