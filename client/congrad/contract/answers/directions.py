"""Running directions."""

from datetime import datetime

from pydantic import Field

from congrad.contract.answer import Answer


class DirectionLanguage(Answer):
    """One language of a direction: samples folded in, effective number of samples, norm of its gradient."""

    samples: int
    weight: float
    norm: float


class Direction(Answer):
    """A running direction.

    ``cosines_before`` and ``cosines_after`` are [languages, languages] in the order of ``languages``: cosines of
    the language gradients, and of each de-conflicted gradient (rows) with each language gradient (columns).
    ``weights`` says what each language counts in the direction: the length of its part, in shares of 1; negative where
    the direction points away from the language, 0 where it is not heard. Empty where an older worker wrote last.
    ``notes`` say in plain words which languages pull against the others, and where nothing is a consensus.
    ``remembered`` counts the pairs that it knows by heart, and ``forgotten`` is as in `DirectionRef`.
    """

    name: str
    version: int
    checkpoint: str
    fingerprint: str
    created: datetime
    updated: datetime
    half_life: float | None
    aggregator: dict[str, str | int]
    norm: float
    remembered: int = 0
    forgotten: int = 0
    languages: dict[str, DirectionLanguage]
    cosines_before: list[list[float]]
    cosines_after: list[list[float]]
    weights: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class DirectionSummary(Answer):
    """A row of ``GET /directions``."""

    name: str
    version: int
    checkpoint: str
    languages: dict[str, int]
