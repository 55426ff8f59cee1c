"""Checkpoints that take the place of others in running workers, and workers that sleep: what is asked and answered.

`wire` has these models too, among the others of the HTTP contract.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from congrad.contract.answer import Answer
from congrad.contract.samples import Request, Text

MAX_NAME = 4096
"""Characters of what names a checkpoint: answers repeat it."""

Source = Annotated[Text, Field(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A folder on the machine of the workers, or the name of a model on the Hugging Face hub."""

Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME)]
"""Of a checkpoint: its name or its fingerprint."""

SleepLevel = Literal["offload", "discard"]
"""Where the weights of a worker that sleeps are: in the memory of its host, or in its files alone."""


class PublishRequest(Request):
    """The body of ``POST /checkpoints``: what takes the place of the checkpoint that ``replaces`` names, by name or
    fingerprint. It may be missing where the live workers serve one only.

    An ``adapter`` alone goes onto the base that the workers have in memory.
    """

    model: Source | None = None
    adapter: Source | None = None
    replaces: Name | None = None

    @model_validator(mode="after")
    def _is_something(self) -> Self:
        if self.model is None and self.adapter is None:
            raise ValueError("should have a model, or an adapter, or both")
        return self


class SleepRequest(Request):
    """The body of ``POST /workers/sleep``; without a ``checkpoint`` all workers are meant that compute gradients."""

    checkpoint: Name | None = None
    level: SleepLevel = "offload"


class WakeRequest(Request):
    """The body of ``POST /workers/wake``, likewise."""

    checkpoint: Name | None = None


class PublicationStatus(StrEnum):
    """How far a publication is; the last two are final."""

    WAITING = "waiting"
    """No worker has begun: they are at what waits for the checkpoint that is replaced."""
    LOADING = "loading"
    """A worker reads the files, or checks what it has read."""
    SERVED = "served"
    """A worker has announced it. Others may follow."""
    FAILED = "failed"
    """It cannot be served, and the checkpoint that it should have replaced still is."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self in (PublicationStatus.SERVED, PublicationStatus.FAILED)


Stage = Literal["hashing", "draining", "loading", "verifying", "served", "failed"]


class Loading(Answer):
    """How far one worker is with a publication, and since when. ``waiting`` counts the jobs of the checkpoint that is
    replaced which it still has to begin; ``error`` says why it failed."""

    worker: str
    stage: Stage
    since: datetime
    waiting: int | None = None
    error: str | None = None


class Publication(Answer):
    """A checkpoint on its way into the workers of another one.

    ``name`` and ``fingerprint`` are null until a worker has looked at the files; from then on jobs may ask for it, and
    wait. ``replaces`` is a fingerprint.
    """

    id: str
    status: PublicationStatus
    replaces: str
    name: str | None = None
    fingerprint: str | None = None
    created: datetime
    workers: list[Loading] = Field(default_factory=list)
    error: str | None = None


class Order(Answer):
    """What workers were told: ``workers`` are their ids, and each has done it once its ``order`` in ``GET /workers`` is
    at least ``number``."""

    number: int
    workers: list[str]
