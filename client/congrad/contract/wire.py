"""What travels between client, service and worker: the models of the HTTP contract.

Requests refuse unknown fields, so that a misspelt option is an error and not a silent default.
Answers accept them, so that an older client can read a newer service.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainSerializer,
    StrictBool,
    WithJsonSchema,
    model_validator,
)

from congrad.contract.aggregators import AggregatorName
from congrad.contract.answers.answer import Answer
from congrad.contract.answers.views import CheckpointQueue as CheckpointQueue
from congrad.contract.answers.views import DirectionConflicts as DirectionConflicts
from congrad.contract.answers.views import DirectionScores as DirectionScores
from congrad.contract.answers.views import HistoryEntry as HistoryEntry
from congrad.contract.answers.views import LanguageConflicts as LanguageConflicts
from congrad.contract.answers.views import LanguageScores as LanguageScores
from congrad.contract.answers.views import LanguageStep as LanguageStep
from congrad.contract.answers.views import Memory as Memory
from congrad.contract.answers.views import Queue as Queue
from congrad.contract.answers.views import Room as Room
from congrad.contract.answers.views import Worker as Worker
from congrad.contract.publishing import MAX_NAME
from congrad.contract.publishing import Loading as Loading
from congrad.contract.publishing import Order as Order
from congrad.contract.publishing import Publication as Publication
from congrad.contract.publishing import PublicationStatus as PublicationStatus
from congrad.contract.publishing import PublishRequest as PublishRequest
from congrad.contract.publishing import SleepLevel as SleepLevel
from congrad.contract.publishing import SleepRequest as SleepRequest
from congrad.contract.publishing import Stage as Stage
from congrad.contract.publishing import WakeRequest as WakeRequest
from congrad.contract.samples import AnySample as AnySample
from congrad.contract.samples import Language, Request, Text
from congrad.contract.samples import Message as Message
from congrad.contract.samples import PromptCompletion as PromptCompletion
from congrad.contract.samples import Sample as Sample
from congrad.contract.validation.bounded import FirstFaults

MAX_LANGUAGES = 1024
"""Of a direction, whatever its service is set to."""

DirectionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


def _kind_is_needed(schema: dict[str, Any]) -> None:
    """In JSON it says which selection this is; the default is for Python."""
    schema["required"] = ["kind", *schema.get("required", [])]


class ThresholdSelection(Request):
    """Keeps a pair while its conflict score is at most ``max_conflict``."""

    model_config = ConfigDict(json_schema_extra=_kind_is_needed)

    kind: Literal["threshold"] = "threshold"
    max_conflict: Annotated[FiniteFloat, Field(strict=True, ge=-1, le=1)] = 0.0


class FractionSelection(Request):
    """Keeps the share ``keep`` with the lowest conflict scores.

    The ranking is within each language of the request, over the whole request, or (``stream``) against the
    language's most recent scores in this direction, so that small requests keep the same share on average. With
    ``language-length`` pairs of a language are ranked among those of like ``length_ratio`` only, so that what is kept
    does not follow which answer is longer: in up to 20 parts of the language, each of ten pairs or more.
    """

    model_config = ConfigDict(json_schema_extra=_kind_is_needed)

    kind: Literal["fraction"] = "fraction"
    keep: Annotated[FiniteFloat, Field(strict=True, ge=0, le=1)]
    within: Literal["language", "language-length", "request", "stream"] = "language"


Selection = Annotated[ThresholdSelection | FractionSelection, Field(discriminator="kind")]


def _from_json(value: Any) -> Any:
    return math.inf if value == INFINITY else value


def _as_json(value: float) -> float | str:
    return INFINITY if value == math.inf else value


INFINITY = "inf"
"""JSON has no number for it."""

SHORTEST = 1e-3
"""Of half-lives, in samples: of shorter ones nothing is left that half precision could hold."""

HalfLife = Annotated[
    float,
    Field(strict=True, ge=SHORTEST, allow_inf_nan=True),  # NaN is not above anything
    BeforeValidator(_from_json),
    PlainSerializer(_as_json),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": SHORTEST}, {"const": INFINITY}]}),
]
"""Samples of a language after which an old one counts half; with `inf` all count alike for ever."""


class FilterRequest(Request):
    """The body of ``POST /filter``.

    ``checkpoint`` names one of ``GET /checkpoints`` by name or fingerprint. It is needed only where the live
    workers serve several and the direction does not exist yet. ``retain`` keeps the compressed gradients after the
    job has ended, so that it can be scored again.

    A pair that the direction is made of already counts ``once``: it is not folded in again, and is scored without its
    own share. With ``repeats`` at ``count`` every sample is taken for a new one.

    ``half_life`` and ``aggregator`` are those that the direction begins with, else the workers'. It keeps them: others
    are a conflict, but that a request which does not update is scored under any aggregator.
    """

    samples: Annotated[list[AnySample], Field(min_length=1), FirstFaults]
    direction: DirectionName = "default"
    update: StrictBool = True
    selection: Selection = ThresholdSelection()
    checkpoint: Annotated[Text, Field(max_length=MAX_NAME)] | None = None
    retain: StrictBool = False
    repeats: Literal["once", "count"] = "once"
    half_life: HalfLife | None = None
    aggregator: AggregatorName | None = None

    @model_validator(mode="after")
    def _ids_default_to_positions(self) -> "FilterRequest":
        for index, sample in enumerate(self.samples):
            sample.id = str(index) if sample.id is None else sample.id
        return self


class RescoreRequest(Request):
    """The body of ``POST /jobs/{id}/rescore``; ``retain`` keeps the gradients for yet another time.

    ``aggregator`` is another than the direction's, and ``languages`` are those of its languages that are heard, both
    for this answer only. ``direction`` is another than the one that the job was folded into. With ``update`` the
    samples are folded into that one too, and ``half_life`` and ``aggregator`` are those that it begins with: so a
    direction is made of gradients that are there.
    """

    selection: Selection = ThresholdSelection()
    retain: StrictBool = False
    aggregator: AggregatorName | None = None
    languages: Annotated[list[Language], Field(min_length=1, max_length=MAX_LANGUAGES)] | None = None
    direction: DirectionName | None = None
    update: StrictBool = False
    half_life: HalfLife | None = None

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "RescoreRequest":
        if self.update and self.direction is None:
            raise ValueError("'update' needs a 'direction', other than the one that the job was folded into")
        if self.update and self.languages is not None:
            raise ValueError("'languages' are for an answer that changes nothing, and 'update' does")
        if self.half_life is not None and not self.update:
            raise ValueError("'half_life' is what a direction begins with, and none does without 'update'")
        return self


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


class JobStatus(StrEnum):
    """The states of a job; the last three are final."""

    QUEUED = "queued"
    """Accepted; no worker has started on it."""
    RUNNING = "running"
    """At least one chunk has been taken up by a worker."""
    SUCCEEDED = "succeeded"
    """Decided; if it updates, it has been folded into the direction, once."""
    FAILED = "failed"
    """Given up; it has not been folded in and never will be."""
    CANCELLED = "cancelled"
    """Cancelled by a client; it has not been folded in and never will be."""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class ProblemError(Answer):
    """One fault in a request: a JSON pointer into its body, and what is wrong there."""

    pointer: str
    detail: str


NO_LONGER_KEPT = "urn:congrad:no-longer-kept"
"""The type of a conflict: what was done under an Idempotency-Key has no answer any more, or a job no gradients."""


class Problem(Answer):
    """An RFC 9457 problem document. ``instance`` is ``/jobs/ID`` where it says why that job failed."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[ProblemError] = Field(default_factory=list)


class Progress(Answer):
    """Chunks of a job whose gradients are done."""

    done: int
    total: int


class Job(Answer):
    """A job's state. ``result`` is there once it succeeded, ``error`` once it failed; where its gradients are
    ``retained`` then, it can be scored again."""

    id: str
    status: JobStatus
    direction: str
    samples: int
    created: datetime
    progress: Progress
    result: FilterResult | None = None
    error: Problem | None = None
    retained: bool = False


class JobSummary(Answer):
    """A row of ``GET /jobs``: a job without its decisions.

    ``ended`` is null until it has; ``kept``, ``dropped`` and ``timing`` are there once it succeeded, ``error`` once it
    failed, and then ``starts`` says how often a piece of its work was started, the most of any. One that was given up
    for no fault of its request's ``can_be_retried`` for as long as its samples are kept; ``retried`` is the job that it
    was tried again as. ``retained`` is as in `Job`.
    """

    id: str
    status: JobStatus
    direction: str
    checkpoint: str
    samples: int
    created: datetime
    ended: datetime | None = None
    progress: Progress
    kept: int | None = None
    dropped: int | None = None
    timing: Timing | None = None
    error: Problem | None = None
    starts: int | None = None
    can_be_retried: bool = False
    retried: str | None = None
    retained: bool = False


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
