"""The settings of the workers; read from the environment once a process."""

import math
import re
from typing import Annotated, Any, Literal

from congrad.contract.wire import SHORTEST
from congrad_service.settings import RedisSettings
from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_settings import NoDecode

from congrad_worker import loss_names
from congrad_worker.loss_names import LOSS_NAMES, Loss, is_unused, losses_of, without_divergence

ProjectionKind = Literal["kronecker", "flora", "exact"]
Layers = Literal["all", "upper-half", "upper-quarter", "upper-eighth"]

MAX_DIM = 2**27
"""Numbers of a gradient: the sum of a language's is one value in Redis, which has 512 MiB at most."""


def _numbers(value: Any) -> Any:
    """The numbers of a list with commas; what is wrong with one is said of the setting, which has a name."""
    try:
        numbers = [float(item) for item in value.split(",")] if isinstance(value, str) else value
        if numbers is not None and not all(0 < number < math.inf for number in numbers):
            raise ValueError
    except ValueError:
        raise ValueError("should be numbers above 0, with commas between them") from None
    return numbers


Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class WorkerSettings(RedisSettings):
    """What both kinds of worker have beside what the service has too."""

    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Where Prometheus reads the metrics of this worker; nowhere if it is not set. Each worker of a machine needs its
    own."""
    metrics_host: str = "127.0.0.1"
    """The address of that port. It asks for no token."""


class DecideSettings(WorkerSettings):
    """How samples become a direction. The defaults are ours: the paper does not state its own."""

    half_life: Annotated[float, Field(ge=SHORTEST)] = 1024.0
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
    """Which gradients a worker computes. All but the last six of them, which gradients do not depend on, are part
    of the fingerprint."""

    model: str
    """A local folder, or a model on the Hugging Face hub."""
    adapter: str | None = None
    """A PEFT adapter, likewise; its own linear layers are then what gradients are taken of. The tokenizer and its chat
    template are the model's."""
    loss: Annotated[str, WithJsonSchema({"type": "string", "enum": list(LOSS_NAMES)})] = "sigmoid"
    """TRL's names, but for `lp`, which is DPO with a length penalty; or several with commas between them, which are
    added up."""
    loss_weights: Annotated[tuple[Weight, ...] | None, NoDecode, BeforeValidator(_numbers)] = None
    """What each of several losses counts; 1 unless set."""
    reference: str = "policy"
    """`policy` (no reference forward), `base` (the adapter switched off), or a path."""
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """β of the loss; in `ipo` the regularisation that its paper calls τ."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """The share of labels that `robust` takes to be wrong, at 0 it is `sigmoid`; the ε of `exo_pair`, above 0."""
    simpo_gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """The margin that `simpo` aims at, in units of β times the mean log-probability."""
    length_penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """What `lp` adds to its logit for each token that chosen is longer; at 0 it is `sigmoid`."""
    discopop_tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    """The temperature at which `discopop` goes over from one of its two losses to the other."""
    ld_alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    """LD-DPO: what tokens beyond the shorter completion of a pair count; none, as 1, leaves the loss as it is."""
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = "reverse_kl"
    """f-DPO: what the policy's distance from the reference is measured by; with losses of a pair's difference only."""
    f_alpha_divergence_coef: Annotated[float, Field(allow_inf_nan=False)] = 0.5
    """The α of `alpha_divergence`; at 1 it is `reverse_kl`."""
    desirable_weight: Weight = 1.0
    """What the losses of completions with the label true count in `kto` and `apo_zero_unpaired`."""
    undesirable_weight: Weight = 1.0
    """What the losses of completions with the label false count there."""
    target_modules: str | None = None
    """A regular expression that a module's name must match somewhere."""
    layers: Layers = "all"
    """Which decoder layers gradients are taken of. Below the upper ones there is no backward pass: it takes less time,
    and scores tell less."""
    unit_gradients: bool = True
    """Scales every gradient to length 1, so that each sample counts alike in the mean of its language; off is the
    paper's mean."""
    use_weighting: bool = False
    """WPO: a pair counts the more, the likelier both of its completions are to the policy. Without unit gradients."""
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
    fp8: bool = False
    """Has backward passes multiply with the decoder's weights in 8 bits (e4m3), of a checkpoint in bfloat16: on a GPU
    whose matrix units take them. Gradients are rounded to percents, and scores hardly change."""
    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of one micro-batch, padding included: 8192 on a GPU, 4096 on a CPU, whose caches are small. A pair that is
    longer makes a batch of its own."""
    batch_requests: bool = True
    """Computes requests that wait at the same time in one batch, as far as they fit. Off, each has the same bits
    whatever else is asked, on a CPU, and small ones take longer."""
    device: str = "auto"
    """`auto` is the first GPU, or the CPU where there is none; `cuda` is the GPU, and an error where there is none;
    `all` divides the layers among all GPUs that the worker sees, for a model that one does not hold."""
    attn_implementation: Literal["auto", "sdpa", "eager", "flex_attention"] = "auto"
    """transformers' names; `auto` is its own choice for the architecture."""
    gradient_checkpointing: bool = False
    """Keeps the inputs of decoder layers only and computes the layers again: less memory, a third more work."""
    idle_sleep: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds without work after which a worker gives the memory of its weights back, until there is work again: those
    on a GPU go to the host's memory, those on a CPU are dropped and read again. Never unless it is set."""

    @property
    def losses(self) -> tuple[Loss, ...]:
        """The loss, or all that are added up."""
        return losses_of(self.loss)

    @field_validator("loss")
    @classmethod
    def _are_losses(cls, value: str) -> str:
        return ",".join(losses_of(value))

    @field_validator("loss_weights")
    @classmethod
    def _are_as_many(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        losses = _losses(info)
        if value is None or not losses:
            return value
        if len(losses) == 1:
            raise ValueError(f"has no effect with one loss, which CONGRAD_LOSS={losses[0]} is; leave it unset")
        if len(value) != len(losses):
            raise ValueError(f"should be {len(losses)} numbers, one for each loss of CONGRAD_LOSS, not {len(value)}")
        return value

    @field_validator(*loss_names.SETTINGS)
    @classmethod
    def _is_used(cls, value: object, info: ValidationInfo) -> object:
        """A setting without effect would be one that its user believes in."""
        name = str(info.field_name)
        losses = _losses(info)
        if losses and value != cls.model_fields[name].default and is_unused(name, losses):
            raise ValueError(f"has no effect with CONGRAD_LOSS={info.data['loss']}; {cls._usual(name)}")
        return value

    @classmethod
    def _usual(cls, name: str) -> str:
        default = cls.model_fields[name].default
        return "leave it unset" if default is None else f"leave it at {str(default).lower()}"

    @field_validator("label_smoothing")
    @classmethod
    def _is_smooth(cls, value: float, info: ValidationInfo) -> float:
        if value == 0 and "exo_pair" in _losses(info):
            raise ValueError("should be above 0 with CONGRAD_LOSS=exo_pair, for which its paper has 0.001")
        return value

    @field_validator("f_divergence_type")
    @classmethod
    def _is_defined(cls, value: str, info: ValidationInfo) -> str:
        if value != "reverse_kl" and (others := without_divergence(_losses(info))):
            raise ValueError(
                f"{value} is not defined for CONGRAD_LOSS={others[0]}, only for losses of the difference of two "
                f"scores: {', '.join(loss_names.OF_DIFFERENCES)}; leave it at reverse_kl"
            )
        return value

    @field_validator("f_alpha_divergence_coef")
    @classmethod
    def _is_of_alpha(cls, value: float, info: ValidationInfo) -> float:
        kind = info.data.get("f_divergence_type", "alpha_divergence")  # missing where it is invalid itself
        if kind != "alpha_divergence" and value != cls.model_fields["f_alpha_divergence_coef"].default:
            usual = cls._usual("f_alpha_divergence_coef")
            raise ValueError(f"has no effect with CONGRAD_F_DIVERGENCE_TYPE={kind}; {usual}")
        return value

    @field_validator("use_weighting")
    @classmethod
    def _is_not_undone(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("unit_gradients"):
            raise ValueError("has no effect with CONGRAD_UNIT_GRADIENTS=true, which undoes all weights of pairs")
        return value

    @field_validator("fp8")
    @classmethod
    def _is_of_bfloat16(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("dtype") in ("float32", "float16"):
            raise ValueError(f"rounds bfloat16 to 8 bits, and CONGRAD_DTYPE is {info.data['dtype']}")
        if value and info.data.get("load_in_4bit"):
            raise ValueError(
                "has no effect with CONGRAD_LOAD_IN_4BIT=true, whose weights have 4 bits; leave it at false"
            )
        return value

    @field_validator("target_modules")
    @classmethod
    def _is_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from error
        return value


def _losses(info: ValidationInfo) -> tuple[Loss, ...]:
    """The losses that are set; none where they are invalid themselves."""
    return losses_of(info.data["loss"]) if "loss" in info.data else ()
