"""What travels between client, service and worker: the models of the HTTP contract.

Requests refuse unknown fields, so that a misspelt option is an error and not a silent default.
Answers accept them, so that an older client can read a newer service.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    JsonValue,
    Tag,
    model_validator,
)

from congrad.languages import normalise_language

IMAGE_COLUMNS = ("image", "images")
"""Where TRL looks for images; their pairs are refused, as scores of the text alone would pass for theirs."""

MAX_DEPTH = 64
"""Levels of objects and lists in tools, tool calls and template variables: whatever reads them recurses."""

RESERVED_TEMPLATE_KWARGS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "conversations",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Arguments of the tokenizer's `apply_chat_template` that are no variables of a template: some would run a template of
the client's (`chat_template`), others would make token ids differ from those that are trained on."""


def _is_unicode(text: str) -> str:
    """JSON can smuggle half of a surrogate pair into a string; nothing downstream can encode it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"has a lone surrogate at character {error.start}, so it is not Unicode text") from None
    return text


def _is_plain(value: Any, levels: int = MAX_DEPTH) -> Any:
    """Refuses what a JSON object may hold in Python and what breaks further on: NaN, half a surrogate pair, no end."""
    if isinstance(value, str):
        _is_unicode(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}, which is not a finite number")
    elif isinstance(value, dict | list):
        if levels == 0:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _is_plain(item, levels - 1)
    return value


Text = Annotated[str, AfterValidator(_is_unicode)]
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_is_plain)]
SampleId = Annotated[Text, Field(min_length=1, max_length=256)]
Language = Annotated[Text, AfterValidator(normalise_language)]
DirectionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TextBlock(_Request):
    """A piece of a message's content."""

    type: Literal["text"]
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        kind = data.get("type", "text") if isinstance(data, dict) else "text"
        if kind != "text":
            raise ValueError(f"is of type {str(kind)[:40]!r}: images and other media are not supported, only text")
        return data


def _text_or_blocks(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "blocks" if isinstance(value, Sequence) else None


MessageContent = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[TextBlock], Tag("blocks")],
    Discriminator(
        _text_or_blocks,
        custom_error_type="text_or_blocks",
        custom_error_message="should be a string or a list of {type: text, text} blocks",
    ),
]


class Message(_Request):
    """One turn of a conversation, with the keys that chat templates read. A null is the same as no key.

    ``tool_calls`` are what an assistant calls, with or without ``content``; ``name`` and ``tool_call_id`` say what a
    tool's answer belongs to. Reasoning goes by any of three names: transformers gives a template the one it reads.
    """

    role: Annotated[Text, Field(min_length=1, max_length=64)]
    content: MessageContent | None = None
    name: Text | None = None
    tool_calls: list[JsonObject] | None = None
    tool_call_id: Text | None = None
    reasoning_content: Text | None = None
    thinking: Text | None = None
    reasoning: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Message":
        if self.content is None and not self.tool_calls:
            raise ValueError("content should be given where there are no tool_calls")
        return self


def _text_or_messages(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "messages" if isinstance(value, Sequence) else None


Content = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[Message], Field(min_length=1), Tag("messages")],
    Discriminator(
        _text_or_messages,
        custom_error_type="text_or_messages",
        custom_error_message="should be a string or a list of {role, content} messages",
    ),
]


def _parsed(tools: Any) -> Any:
    """Tools as `datasets` stores them where their schemas differ from row to row: a string of JSON."""
    if not isinstance(tools, str):
        return tools
    try:
        return json.loads(tools)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is a string, but not of JSON: {error}") from None


def _are_template_variables(kwargs: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if reserved := sorted(RESERVED_TEMPLATE_KWARGS & kwargs.keys()):
        raise ValueError(f"may hold variables of the chat template only, not {', '.join(reserved)}")
    return kwargs


Tools = Annotated[
    list[JsonObject] | None, BeforeValidator(_parsed, json_schema_input_type=list[JsonObject] | str | None)
]
TemplateKwargs = Annotated[JsonObject, AfterValidator(_are_template_variables)]


class Sample(_Request):
    """A preference pair with its language.

    ``prompt`` may be missing: it is then the longest common prefix of ``chosen`` and ``rejected``, as in TRL.
    ``id`` defaults to the position in the request. The other columns are TRL's too. The two log-probabilities, in
    nats and summed over the completion, replace the reference model for this sample. ``tools`` (JSON schemas, or
    a string of them) and ``chat_template_kwargs`` are handed to the chat template; where the pair is plain text no
    template is applied, and they are ignored.
    """

    id: SampleId | None = None
    language: Language
    prompt: Content | None = None
    chosen: Content
    rejected: Content
    ref_chosen_logps: FiniteFloat | None = None
    ref_rejected_logps: FiniteFloat | None = None
    tools: Tools = None
    chat_template_kwargs: TemplateKwargs | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.keys().isdisjoint(IMAGE_COLUMNS):
            raise ValueError("images are not supported: a pair should be text, without a column image or images")
        return data

    @model_validator(mode="before")
    @classmethod
    def _prompt_is_missing_or_given(cls, data: Any) -> Any:
        # The annotation allows None for "missing"; a null that was sent is a mistake in the caller's data.
        if isinstance(data, dict) and "prompt" in data and data["prompt"] is None:
            raise ValueError("prompt should be a string or a list of messages, or be left out; it is null")
        return data

    @model_validator(mode="after")
    def _fields_agree(self) -> "Sample":
        if isinstance(self.chosen, str) != isinstance(self.rejected, str):
            raise ValueError("chosen and rejected should both be strings or both be lists of messages")
        if isinstance(self.chosen, str) and isinstance(self.prompt, list):
            raise ValueError("prompt is a list of messages, so chosen and rejected should be too")
        if (self.ref_chosen_logps is None) != (self.ref_rejected_logps is None):
            raise ValueError("ref_chosen_logps and ref_rejected_logps should be given together")
        return self


class ThresholdSelection(_Request):
    """Keeps a pair while its conflict score is at most ``max_conflict``."""

    kind: Literal["threshold"] = "threshold"
    max_conflict: Annotated[FiniteFloat, Field(ge=-1, le=1)] = 0.0


class FractionSelection(_Request):
    """Keeps the share ``keep`` with the lowest conflict scores.

    The ranking is within each language of the request, over the whole request, or (``stream``) against the
    language's most recent scores in this direction, so that small requests keep the same share on average.
    """

    kind: Literal["fraction"]
    keep: Annotated[FiniteFloat, Field(ge=0, le=1)]
    within: Literal["language", "request", "stream"] = "language"


Selection = Annotated[ThresholdSelection | FractionSelection, Field(discriminator="kind")]


class FilterRequest(_Request):
    """The body of ``POST /filter``.

    ``checkpoint`` names one of ``GET /checkpoints`` by name or fingerprint. It is needed only where the live
    workers serve several and the direction does not exist yet.
    """

    samples: Annotated[list[Sample], Field(min_length=1)]
    direction: DirectionName = "default"
    update: bool = True
    selection: Selection = ThresholdSelection()
    checkpoint: Text | None = None

    @model_validator(mode="after")
    def _ids_default_to_positions(self) -> "FilterRequest":
        for index, sample in enumerate(self.samples):
            sample.id = str(index) if sample.id is None else sample.id
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


class Decision(_Answer):
    """What was decided for one pair. ``conflict_score`` is minus the cosine with the consensus, in [-1, 1]."""

    id: str
    language: str
    keep: bool
    conflict_score: float | None
    conflicts_with: list[str]
    truncated: bool
    reason: Reason | None


class LanguageSummary(_Answer):
    """Counts of one language in one answer, and the mean of its conflict scores (null where none exists)."""

    kept: int
    dropped: int
    mean_conflict: float | None


class Summary(_Answer):
    """Counts of one answer."""

    kept: int
    dropped: int
    by_language: dict[str, LanguageSummary]


class DirectionRef(_Answer):
    """The direction that a request was scored against; ``languages`` counts the samples folded in so far."""

    name: str
    version: int
    checkpoint: str
    languages: dict[str, int]


class Timing(_Answer):
    """Seconds spent in each stage, by the clock of Redis."""

    queued_s: float
    gradients_s: float
    decide_s: float
    total_s: float


class FilterResult(_Answer):
    """The answer of ``POST /filter``; decisions are in the order of the samples."""

    job_id: str
    direction: DirectionRef
    decisions: list[Decision]
    summary: Summary
    timing: Timing


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


class ProblemError(_Answer):
    """One fault in a request: a JSON pointer into its body, and what is wrong there."""

    pointer: str
    detail: str


class Problem(_Answer):
    """An RFC 9457 problem document."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[ProblemError] = []


class Progress(_Answer):
    """Chunks of a job whose gradients are done."""

    done: int
    total: int


class Job(_Answer):
    """A job's state. ``result`` is there once it succeeded, ``error`` once it failed."""

    id: str
    status: JobStatus
    direction: str
    samples: int
    created: datetime
    progress: Progress
    result: FilterResult | None = None
    error: Problem | None = None


class DirectionLanguage(_Answer):
    """One language of a direction: samples folded in, effective number of samples, norm of its gradient."""

    samples: int
    weight: float
    norm: float


class Direction(_Answer):
    """A running direction.

    ``cosines_before`` and ``cosines_after`` are [languages, languages] in the order of ``languages``: cosines of
    the language gradients, and of each de-conflicted gradient (rows) with each language gradient (columns).
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
    languages: dict[str, DirectionLanguage]
    cosines_before: list[list[float]]
    cosines_after: list[list[float]]


class DirectionSummary(_Answer):
    """A row of ``GET /directions``."""

    name: str
    version: int
    checkpoint: str
    languages: dict[str, int]


class Projection(_Answer):
    """How gradients are compressed: kind, rank k of the first stage, dimension D of the result, seed."""

    kind: Literal["kronecker", "flora", "exact"]
    rank: int | None
    dim: int
    seed: int


class Checkpoint(_Answer):
    """A checkpoint that at least one live worker serves.

    ``coverage`` is the share of the parameters that training changes which gradients are taken of. ``shared_prompts``
    says whether a prompt is computed once for both of its completions.
    """

    name: str
    fingerprint: str
    loss: str
    beta: float
    reference: str
    projection: Projection
    target_modules: str | None
    modules: int
    coverage: float
    shared_prompts: bool
    max_length: int
    dtype: str
    devices: list[str]
    workers: int
