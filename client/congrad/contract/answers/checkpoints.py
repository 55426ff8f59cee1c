"""Checkpoints that workers serve."""

from datetime import datetime

from congrad.contract.answer import Answer
from congrad.contract.publishing import Publication


class Projection(Answer):
    """How gradients are compressed: kind, rank k of the first stage, dimension D of the result, seed."""

    kind: str
    rank: int | None
    dim: int
    seed: int


class Checkpoint(Answer):
    """A checkpoint that at least one live worker serves; or none does now, and a request for it waits for one: then
    ``seen`` is when one was heard last.

    ``unit_gradients`` says whether each sample counts alike in the mean of its language, however long its gradient.
    ``layers`` are the decoder layers that gradients are taken of, as in ``CONGRAD_LAYERS``, and ``coverage`` is the
    share of the parameters that training changes which they are taken of. ``shared_prompts`` says whether a prompt is
    computed once for both of its completions. ``asleep`` counts the workers that sleep until there is work, and
    ``publication`` is what takes its place, or could not; null where nothing does.
    """

    name: str
    fingerprint: str
    loss: str
    beta: float
    reference: str
    projection: Projection
    target_modules: str | None
    layers: str = "all"
    unit_gradients: bool = False
    modules: int
    coverage: float
    shared_prompts: bool
    max_length: int
    dtype: str
    devices: list[str]
    workers: int
    seen: datetime | None = None
    asleep: int = 0
    publication: Publication | None = None
