"""What was decided for pairs."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from congrad.contract.answer import Answer


class Reason(StrEnum):
    """Why a pair has no conflict score."""

    ZERO_GRADIENT = "zero_gradient"
    """Chosen and rejected are the same to the model: nothing to learn; dropped."""
    NO_DIRECTION = "no_direction"
    """No other sample is in the direction yet, so there is nothing to compare with; kept."""
    NON_FINITE_GRADIENT = "non_finite_gradient"
    """The gradient has NaN or infinite entries; dropped, and never part of the direction."""
    OUT_OF_MEMORY = "out_of_memory"
    """Too long for the worker's device, alone as well; dropped, and never part of the direction."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The prompt leaves no room for a completion within the checkpoint's maximum length; dropped, as TRL drops it."""
    TEMPLATE_REFUSED = "template_refused"
    """The checkpoint's chat template refuses the conversation; dropped."""
    UNAVAILABLE = "unavailable"
    """Made by the client where the service stayed down; never by the service."""
    BAD_ROW = "bad_row"
    """Made by the client of a row that is no sample, where it goes on without it; never by the service."""
    TIE = "tie"
    """Made by the client of a row that prefers neither of its answers; never by the service."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one pair.

    ``conflict_score`` is minus the cosine with the consensus, in [-1, 1]; where there is none, ``reason`` says why: one
    of `Reason`, or a word that a newer service has. ``repeated`` says that the direction had the pair already, or has
    it from an earlier place in the same request. ``length_ratio`` is how many times as many characters the chosen
    answer has as the rejected one, without the prompt; null where there are no two answers with any.
    """

    # No pydantic model, which takes twice as long to read: a call can bring very many of them.

    id: str
    language: str
    keep: bool
    conflict_score: float | None
    conflicts_with: list[str]
    truncated: bool
    repeated: bool = field(default=False, kw_only=True)  # an earlier service does not say it, nor the next
    length_ratio: float | None = field(default=None, kw_only=True)
    # Left to right: what fits best would leave even the reasons that are known mere strings.
    reason: Annotated[Reason | str, Field(union_mode="left_to_right")] | None


class LanguageSummary(Answer):
    """Counts of one language in one answer, and the mean of its conflict scores (null where none exists).
    ``repeated`` of its pairs were not new to the direction, whether kept or dropped."""

    kept: int
    dropped: int
    repeated: int = 0
    mean_conflict: float | None


class Summary(Answer):
    """Counts of one answer."""

    kept: int
    dropped: int
    repeated: int = 0
    by_language: dict[str, LanguageSummary]


class DirectionRef(Answer):
    """The direction that a request was scored against; ``languages`` counts the samples folded in so far.

    ``forgotten`` counts the pairs that it is made of and no longer knows, as it remembers so many and no more: they
    would be taken for new ones.
    """

    name: str
    version: int
    checkpoint: str
    languages: dict[str, int]
    forgotten: int = 0


class Timing(Answer):
    """Seconds spent in each stage, by the clock of Redis."""

    queued_s: float
    gradients_s: float
    decide_s: float
    total_s: float


class FilterResult(Answer):
    """The answer of ``POST /filter``; decisions are in the order of the samples."""

    job_id: str
    direction: DirectionRef
    decisions: list[Decision]
    summary: Summary
    timing: Timing

    @property
    def keep(self) -> list[bool]:
        """Keep or drop, in the order of the samples."""
        return [decision.keep for decision in self.decisions]
