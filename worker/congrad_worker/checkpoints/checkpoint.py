"""Loading a checkpoint with transformers and PEFT: safetensors only, no remote code."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils.logging import disable_progress_bar

from congrad_worker.checkpoints import tensor_float
from congrad_worker.checkpoints.adapters import Model, is_adapted
from congrad_worker.checkpoints.checks.broken import broken_file, has_tokenizer
from congrad_worker.checkpoints.checks.completeness import check_adapter, check_model, check_own_weights
from congrad_worker.checkpoints.checks.encoders import check_encoder
from congrad_worker.checkpoints.checks.frequencies import limit, thresholds
from congrad_worker.checkpoints.checks.kernels import check_kernels
from congrad_worker.checkpoints.checks.templates import warn_of_own_template
from congrad_worker.checkpoints.checks.vocabulary import check_vocabulary
from congrad_worker.checkpoints.files import CheckpointFiles
from congrad_worker.errors import CheckpointError
from congrad_worker.settings import GradientSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A frozen policy with its tokenizer, and its reference where one is asked for."""

    name: str
    model: Model
    tokenizer: PreTrainedTokenizerBase
    reference: str
    reference_model: PreTrainedModel | None
    max_length: int

    @property
    def device(self) -> torch.device:
        """Where the embeddings lie, and so where token ids go."""
        return self.input_embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of activations."""
        return self.input_embeddings.weight.dtype

    @property
    def input_embeddings(self) -> torch.nn.Embedding:
        """The layer that every forward pass begins with."""
        return cast("torch.nn.Embedding", self.model.get_input_embeddings())

    @property
    def pad_id(self) -> int:
        """What rows are padded with. Nothing looks at it, and the tokenizer may have none."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def vocabulary(self) -> int:
        """How many token ids all of its models have embeddings for."""
        return min(embeddings(model) for model in self.models)

    @property
    def thresholds(self) -> list[int]:
        """Lengths that all rows of a batch must be on one side of, see `frequencies`."""
        return sorted({length for model in self.models for length in thresholds(model.config.get_text_config())})

    @property
    def models(self) -> list[Model]:
        """The policy, and the reference model where that is another."""
        return [model for model in (self.model, self.reference_model) if model is not None]

    @contextmanager
    def as_reference(self) -> Iterator[Model | None]:
        """The reference model for the time of the block; None where the policy is its own reference."""
        if self.reference == "base":
            flags = [(parameter, parameter.requires_grad) for parameter in self.model.parameters()]
            try:
                assert is_adapted(self.model)
                with self.model.disable_adapter():
                    yield self.model
            finally:
                for parameter, flag in flags:  # PEFT takes an adapter that is switched on for one that is trained
                    parameter.requires_grad_(flag)
        else:
            yield self.reference_model


@dataclass(frozen=True)
class Base:
    """A model as its files have it, without any adapter, with all that does not depend on one."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    reference_model: PreTrainedModel | None
    max_length: int


def load(files: CheckpointFiles, settings: GradientSettings) -> Checkpoint:
    """Loads what ``files`` holds.

    :raises CheckpointError: transformers or PEFT cannot make a causal language model of it, or would make up a part.
    """
    return adapted(load_base(files, settings), files, settings)


def load_base(files: CheckpointFiles, settings: GradientSettings) -> Base:
    """Loads what ``files`` holds but for an adapter.

    :raises CheckpointError: as `load` does.
    """
    disable_progress_bar()  # the log of a service is no terminal
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    reference = None
    with _explained(files):
        model = _load_model("CONGRAD_MODEL", files.model, settings, dtype, device)
        tokenizer = _load_tokenizer(files.model)
        if files.reference is not None:
            reference = _load_model("CONGRAD_REFERENCE", files.reference, settings, dtype, device)
    if settings.dtype == "auto" and model.dtype == torch.float32 and device.type == "cuda":
        tensor_float.allow(files.name)
    check_vocabulary(f"CONGRAD_MODEL={files.model}", tokenizer, embeddings(model))
    max_length = _max_length(model, settings.max_length)
    if reference is not None:
        check_vocabulary(f"CONGRAD_REFERENCE={files.reference}", tokenizer, embeddings(reference))
        max_length = _max_length(reference, max_length)
    return Base(model, tokenizer, reference, max_length)


def adapted(base: Base, files: CheckpointFiles, settings: GradientSettings) -> Checkpoint:
    """The checkpoint that ``files`` holds, on its base, which then has the adapter's layers in it.

    :raises CheckpointError: as `load` does.
    """
    model: Model = base.model
    if files.adapter is not None:
        with _explained(files):
            model = _with_adapter(base.model, files.adapter)
        warn_of_own_template(f"CONGRAD_ADAPTER={files.adapter}", files.adapter, base.tokenizer)
    return Checkpoint(
        name=files.name,
        model=model.eval().requires_grad_(False),
        tokenizer=base.tokenizer,
        reference=settings.reference,
        reference_model=base.reference_model,
        max_length=base.max_length,
    )


@contextmanager
def _explained(files: CheckpointFiles) -> Iterator[None]:
    """:raises CheckpointError: whatever transformers, PEFT, tokenizers or safetensors raise of a checkpoint: they have
    no class of errors in common, and some of theirs are plain exceptions."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        folders = [folder for folder in (files.model, files.adapter, files.reference) if folder is not None]
        why = broken_file(folders) or _one_line(error)
        raise CheckpointError(f"{files.name} cannot be loaded: {why}") from error


def embeddings(model: Model) -> int:
    """How many token ids a model has embeddings for."""
    return cast("torch.nn.Embedding", model.get_input_embeddings()).weight.shape[0]


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first GPU, or the CPU; so is ``all``, where a divided model begins.

    :raises CheckpointError: torch knows no such device, or this machine has none.
    """
    if device in ("auto", "all"):
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        if reason := _why_no_gpu():
            log.warning("CONGRAD_DEVICE=%s is the CPU, although there is an NVIDIA GPU: %s", device, reason)
        return torch.device("cpu")
    try:
        return torch.empty(0, device=torch.device(device)).device
    except (RuntimeError, AssertionError) as error:
        raise CheckpointError(f"CONGRAD_DEVICE={device}: {_one_line(error)}") from error


NVIDIA = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))
"""What is there where a host has a GPU: a device, and the driver, which a container sees without being given any."""


def _why_no_gpu() -> str:
    """What keeps PyTorch from a GPU that this machine seems to have; '' where there is none, or none is to be seen."""
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if is_hidden or not any(path.exists() for path in NVIDIA):
        return ""
    try:
        torch.empty(0, device="cuda")
    except (RuntimeError, AssertionError) as error:
        return _one_line(error)
    return ""


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    """``auto`` is float32 on a CPU, where half precision is slow, and the checkpoint's own elsewhere."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    return cast("torch.dtype", getattr(torch, dtype))


def _load_model(
    setting: str, folder: Path, settings: GradientSettings, dtype: torch.dtype | str, device: torch.device
) -> PreTrainedModel:
    check_kernels(f"{setting}={folder}", folder)
    options: dict[str, Any] = {}
    if settings.attn_implementation != "auto":
        options["attn_implementation"] = settings.attn_implementation
    is_divided = settings.device == "all" and torch.cuda.device_count() > 1
    if is_divided:
        options["device_map"] = "balanced"
    if settings.load_in_4bit:
        options = {"device_map": {"": device}, **options, "quantization_config": _quantisation(dtype)}
    # What does not fit is not loaded, but named below; transformers' own error says only that there is something.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    check_encoder(f"{setting}={folder}", config)
    kind: Any = _class_of(config)
    model, said = kind.from_pretrained(folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options)
    check_model(f"{setting}={folder}", model, said)
    _make_differentiable(model)
    if is_divided and {"cpu", "disk"} & set(model.hf_device_map.values()):
        # Layers that come to a GPU for each batch anew take a hundred times as long.
        raise CheckpointError(f"CONGRAD_DEVICE=all: {torch.cuda.device_count()} GPUs do not hold the model")
    if dtype == torch.float32 and not getattr(model, "is_quantized", False):
        # Of what is stored in FP8 and dequantised on a CPU, transformers leaves in bfloat16 all that was no FP8.
        model = model.float()
    model = model.eval().requires_grad_(False)
    return cast("PreTrainedModel", model if "device_map" in options else model.to(device))


def _make_differentiable(model: PreTrainedModel) -> None:
    """Takes back what a checkpoint or a library has its forward passes do that gradients do not go through."""
    # Checkpoints of years ago may ask for tuples, which transformers' own models cannot do with any more.
    for own in (model.config, model.config.get_text_config()):
        own.return_dict = True
    # Where a CPU multiplies bfloat16, bitsandbytes puts weights in 4 bits into another order at the first forward pass,
    # for a kernel that has no backward pass.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            cast("Any", module).support_avx512bf16_for_cpu = False


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        if has_tokenizer(folder):
            raise
        raise CheckpointError(
            f"CONGRAD_MODEL={folder}: has no tokenizer; save the one that it was trained with into the same folder"
        ) from error
    # That a text is longer than the model's own limit was foretold as an error of indexing; it is cut to what fits.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def _class_of(config: PretrainedConfig) -> type[AutoModelForCausalLM | AutoModelForImageTextToText]:
    """What a checkpoint was saved from, as TRL takes it: a multimodal model has its language model's weights under
    other names than that alone."""
    multimodal = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    is_multimodal = multimodal is not None and multimodal in (config.architectures or [])
    return AutoModelForImageTextToText if is_multimodal else AutoModelForCausalLM


def _with_adapter(model: PreTrainedModel, folder: Path) -> Model:
    """What `PeftModel.from_pretrained` does, and what it keeps to itself: the weights that it did not find."""
    from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, PeftConfig, PeftModel  # see `adapters`

    config = PeftConfig.from_pretrained(str(folder))
    check_own_weights(f"CONGRAD_ADAPTER={folder}", config)
    config.inference_mode = True
    # PEFT keeps half-precision adapters in float32, to train them: every product would then have its input cast, and
    # queries, keys and values would no longer be made of one. Where rounding hurts, it has its way: float16 has few
    # exponents, and DoRA takes norms of whole weights.
    is_upcast = model.dtype != torch.bfloat16 or bool(getattr(config, "use_dora", False))
    kind = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, PeftModel)
    adapted = kind(model, config, autocast_adapter_dtype=is_upcast)
    source = f"CONGRAD_ADAPTER={folder}"
    mapping = getattr(model, "_checkpoint_conversion_mapping", {})
    try:
        said = adapted.load_adapter(str(folder), "default", key_mapping=mapping, autocast_adapter_dtype=is_upcast)
    except KeyError as error:  # a whole module that was to be saved
        raise CheckpointError(
            f"{source}: has no {error.args[0]}, which its adapter_config.json says is saved"
        ) from error
    if not config.is_prompt_learning:  # whose weights have another home, and which is refused for what it is
        check_adapter(source, said.missing_keys, said.unexpected_keys)
    return adapted


def _quantisation(dtype: torch.dtype | str) -> BitsAndBytesConfig:
    compute = dtype if isinstance(dtype, torch.dtype) else torch.bfloat16
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def _max_length(model: Model, wanted: int) -> int:
    """``wanted`` tokens, or as many as there are positions where these are learned: a table has no row beyond its end.
    Rotary positions go on beyond the length that a model was trained at, where it reads less well."""
    config = model.config.get_text_config()
    furthest = limit(config)
    if furthest is not None and wanted > furthest:
        log.warning("only %d tokens of CONGRAD_MAX_LENGTH=%d: rotary frequencies are dynamic beyond", furthest, wanted)
        wanted = furthest
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or wanted <= positions:
        return wanted
    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    # OPT and its kin keep two more rows than there are positions.
    if any(table.num_embeddings - positions in (0, 2) for table in tables if table is not model.get_input_embeddings()):
        return int(positions)
    log.warning("the checkpoint was made for %d positions, and CONGRAD_MAX_LENGTH is %d", positions, wanted)
    return wanted


def _one_line(error: BaseException) -> str:
    """What an error says, up to where a sentence ends: some are a heading first. Of errors that Python itself raises
    the class is half of what they say: the text of a KeyError is a key."""
    first, second, *_ = [*(line.strip() for line in str(error).splitlines() if line.strip()), "", ""]
    said = f"{first} {second}" if first.endswith(":") and second else first
    is_pythons = isinstance(error, LookupError | AttributeError | TypeError | ArithmeticError)
    return ": ".join(filter(None, [type(error).__name__ if is_pythons or not said else "", said]))
