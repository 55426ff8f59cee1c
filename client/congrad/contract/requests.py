"""The bodies of the requests about pairs. They refuse unknown fields, so that a misspelt option is an error and not a
silent default.

`wire` has these models too, among the others of the HTTP contract.
"""

import math
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
from congrad.contract.publishing import MAX_NAME
from congrad.contract.samples import AnySample, Language, Request, Text
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
    if isinstance(value, str) and value != INFINITY:
        raise ValueError(f"should be a number of samples, or {INFINITY!r}; it is {value!r}")
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
