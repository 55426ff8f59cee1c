"""The settings of the workers; read from the environment once a process."""

import math
import re
from typing import Annotated, Literal

from congrad_service.settings import RedisSettings
from pydantic import Field, field_validator

ProjectionKind = Literal["kronecker", "flora", "exact"]


class DecideSettings(RedisSettings):
    """How samples become a direction. The defaults are ours: the paper does not state its own."""

    half_life: Annotated[float, Field(gt=0)] = 1024.0
    """Samples of a language after which an old sample counts half; `inf` is the plain mean."""
    aggregator: str = "pcgrad"
    """`pcgrad`, `mean`, or one of TorchJD's weightings (`upgrad`, `mgda`, `cagrad`, ...)."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the projection and of the orders of surgery."""

    @field_validator("half_life")
    @classmethod
    def _is_number(cls, value: float) -> float:
        if math.isnan(value):
            raise ValueError("should be a number of samples, or inf")
        return value


class GradientSettings(RedisSettings):
    """Which gradients a worker computes. All of them but device and batch size are part of the fingerprint."""

    model: str
    """A local folder, or a model on the Hugging Face hub."""
    adapter: str | None = None
    """A PEFT adapter, likewise; its own linear layers are then what gradients are taken of."""
    reference: str = "policy"
    """`policy` (no reference forward), `base` (the adapter switched off), or a path."""
    loss: Literal["sigmoid"] = "sigmoid"
    beta: Annotated[float, Field(gt=0)] = 0.1
    target_modules: str | None = None
    """A regular expression that a module's name must match somewhere."""
    projection: ProjectionKind = "kronecker"
    projection_rank: Annotated[int, Field(ge=1)] = 64
    projection_dim: Annotated[int, Field(ge=1)] = 16_384
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    max_length: Annotated[int, Field(ge=2)] = 1024
    """Tokens of prompt and completion; a longer completion is cut at its end."""
    max_batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Tokens of one micro-batch, padding included; a pair that is longer makes a batch of its own."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is float32 on a CPU and the checkpoint's own on a GPU."""
    device: str = "auto"
    """`auto` is the first GPU, or the CPU where there is none."""

    @field_validator("target_modules")
    @classmethod
    def _is_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from error
        return value
