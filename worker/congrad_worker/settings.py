"""The settings of the workers; read from the environment once a process."""

import math
import re
from collections.abc import Callable
from typing import Annotated, Literal

from congrad_service.settings import RedisSettings
from pydantic import Field, ValidationInfo, field_validator

ProjectionKind = Literal["kronecker", "flora", "exact"]
Loss = Literal["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "sft", "simpo", "lp"]
REFERENCE_FREE: tuple[Loss, ...] = ("sft", "simpo")
"""The losses that compare the policy with no reference."""

MAX_DIM = 2**27
"""Numbers of a gradient: the sum of a language's is one value in Redis, which has 512 MiB at most."""

_UNUSED: dict[str, Callable[[Loss], bool]] = {
    "reference": lambda loss: loss in REFERENCE_FREE,
    "beta": lambda loss: loss == "sft",
    "label_smoothing": lambda loss: loss != "robust",
    "simpo_gamma": lambda loss: loss != "simpo",
    "length_penalty": lambda loss: loss != "lp",
    "ld_alpha": lambda loss: loss in REFERENCE_FREE,
}
"""Which losses have no use for a setting."""


class WorkerSettings(RedisSettings):
    """What both kinds of worker have beside what the service has too."""

    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Where Prometheus reads the metrics of this worker; nowhere if it is not set. Each worker of a machine needs its
    own."""
    metrics_host: str = "127.0.0.1"
    """The address of that port. It asks for no token."""


class DecideSettings(WorkerSettings):
    """How samples become a direction. The defaults are ours: the paper does not state its own."""

    half_life: Annotated[float, Field(gt=0)] = 1024.0
    """Samples of a language after which an old sample counts half; `inf` is the plain mean. Of directions that begin
    without one of their own; a direction keeps what it began with."""
    aggregator: str = "pcgrad"
    """`pcgrad`, `agreement`, `mean`, or one of TorchJD's weightings (`upgrad`, `mgda`, `cagrad`, ...), likewise."""
    max_pairs: Annotated[int, Field(ge=0)] = 1_000_000
    """Pairs that a direction remembers, so that each counts once, of about 40 bytes in Redis. Where there are more, the
    oldest are given up, and answers say how many."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the projection and of the orders of surgery."""

    @field_validator("half_life")
    @classmethod
    def _is_number(cls, value: float) -> float:
        if math.isnan(value):
            raise ValueError("should be a number of samples, or inf")
        return value


class GradientSettings(WorkerSettings):
    """Which gradients a worker computes. All but the last four of them, which gradients do not depend on, are part
    of the fingerprint."""

    model: str
    """A local folder, or a model on the Hugging Face hub."""
    adapter: str | None = None
    """A PEFT adapter, likewise; its own linear layers are then what gradients are taken of."""
    loss: Loss = "sigmoid"
    """TRL's names, but for `lp`, which is DPO with a length penalty."""
    reference: str = "policy"
    """`policy` (no reference forward), `base` (the adapter switched off), or a path."""
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """β of the loss; in `ipo` the regularisation that its paper calls τ."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """The share of labels that `robust` takes to be wrong; at 0 it is `sigmoid`."""
    simpo_gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """The margin that `simpo` aims at, in units of β times the mean log-probability."""
    length_penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """What `lp` adds to its logit for each token that chosen is longer; at 0 it is `sigmoid`."""
    ld_alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    """LD-DPO: what tokens beyond the shorter completion of a pair count; none, as 1, leaves the loss as it is."""
    target_modules: str | None = None
    """A regular expression that a module's name must match somewhere."""
    unit_gradients: bool = True
    """Scales every gradient to length 1, so that each sample counts alike in the mean of its language; off is the
    paper's mean."""
    projection: ProjectionKind = "kronecker"
    """How gradients are compressed; `exact` is not at all, for small models."""
    projection_rank: Annotated[int, Field(ge=1)] = 128
    """k: a layer's gradient becomes k × k numbers in `kronecker`, and k times its outputs in `flora`."""
    projection_dim: Annotated[int, Field(ge=1, le=MAX_DIM)] = 16_384
    """D: the numbers that are kept of one gradient."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the projection and of the orders of surgery."""
    max_length: Annotated[int, Field(ge=2)] = 1024
    """Tokens of prompt and completion; a longer completion is cut at its end."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is float32 on a CPU and the checkpoint's own on a GPU."""
    load_in_4bit: bool = False
    """Quantises the weights below an adapter with bitsandbytes (NF4), as QLoRA trains it."""
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of one micro-batch, padding included: 8192 on a GPU, 4096 on a CPU, whose caches are small. A pair that is
    longer makes a batch of its own."""
    device: str = "auto"
    """`auto` is the first GPU, or the CPU where there is none; `all` divides the layers among all GPUs that the worker
    sees, for a model that one does not hold."""
    attn_implementation: Literal["auto", "sdpa", "eager", "flex_attention"] = "auto"
    """transformers' names; `auto` is its own choice for the architecture."""
    gradient_checkpointing: bool = False
    """Keeps the inputs of decoder layers only and computes the layers again: less memory, a third more work."""

    @field_validator(*_UNUSED)
    @classmethod
    def _is_used(cls, value: object, info: ValidationInfo) -> object:
        """A setting without effect would be one that its user believes in."""
        name = str(info.field_name)
        default = cls.model_fields[name].default
        loss = info.data.get("loss")  # missing where it is invalid itself
        if loss is not None and value != default and _UNUSED[name](loss):
            usual = "unset" if default is None else f"at {default}"
            raise ValueError(f"has no effect with CONGRAD_LOSS={loss}; leave it {usual}")
        return value

    @field_validator("target_modules")
    @classmethod
    def _is_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from error
        return value
