"""The files of a checkpoint: found, checked and fingerprinted without loading them, and so without torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from congrad_worker.errors import CheckpointError
from congrad_worker.settings import GradientSettings

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
READ = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""What transformers reads of a checkpoint when pickles and remote code are out of the question."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"

GRADIENT_FIELDS = (
    "loss", "reference", "beta", "label_smoothing", "simpo_gamma", "length_penalty", "ld_alpha", "target_modules",
    "unit_gradients", "projection", "projection_rank", "projection_dim", "seed", "max_length", "dtype", "load_in_4bit",
)  # fmt: skip

LATER_FIELDS = (
    "loss_weights", "discopop_tau", "f_divergence_type", "f_alpha_divergence_coef", "desirable_weight",
    "undesirable_weight", "use_weighting",
)  # fmt: skip
"""Gradients depend on these too. They came later, and count where they are not at their default: what had been served
without them keeps its fingerprint, and its directions."""

GRADIENTS_VERSION = 3
"""Raised when the same files and settings come to give other numbers, so that a direction never mixes the two."""


@dataclass(frozen=True)
class CheckpointFiles:
    """Where a checkpoint lies. ``fingerprint`` is equal where gradients may be mixed, and only there."""

    name: str
    model: Path
    adapter: Path | None
    reference: Path | None
    fingerprint: str


def locate(settings: GradientSettings) -> CheckpointFiles:
    """Finds the files that ``settings`` name, on this machine or in the Hugging Face cache or hub.

    :raises CheckpointError: something is missing, or is not in safetensors.
    """
    model = _folder("CONGRAD_MODEL", settings.model)
    _check_model("CONGRAD_MODEL", model)
    adapter = None
    if settings.adapter is not None:
        adapter = _folder("CONGRAD_ADAPTER", settings.adapter)
        _check_adapter(adapter)
    reference = None
    if settings.reference == "base" and adapter is None:
        raise CheckpointError("CONGRAD_REFERENCE=base switches the adapter off, so it needs CONGRAD_ADAPTER")
    if settings.reference not in ("policy", "base"):
        reference = _folder("CONGRAD_REFERENCE", settings.reference)
        _check_model("CONGRAD_REFERENCE", reference)
    name = _name(settings.model) + (f"+{_name(settings.adapter)}" if settings.adapter else "")
    folders = [folder for folder in (model, adapter, reference) if folder is not None]
    return CheckpointFiles(name, model, adapter, reference, _fingerprint(settings, folders))


def _name(model: str) -> str:
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def _folder(setting: str, value: str) -> Path:
    path = Path(value).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists():
        raise CheckpointError(f"{setting}={value}: is a file; the folder of a checkpoint is needed")
    if value.startswith(("/", ".", "~")) or value.count("/") > 1:
        raise CheckpointError(f"{setting}={value}: there is no such folder")
    try:
        return Path(snapshot_download(value, allow_patterns=list(READ)))
    except HFValidationError:
        raise CheckpointError(f"{setting}={value}: is neither a folder nor the name of a model") from None
    except Exception as error:  # whatever keeps the hub from answering, it is one line to the user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{setting}={value}: is no folder here, and the hub says: {reason}") from error


def _check_model(setting: str, folder: Path) -> None:
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise CheckpointError(
            f"{setting}={folder}: holds a PEFT adapter; set CONGRAD_MODEL to its base and CONGRAD_ADAPTER to it"
        )
    if not (folder / "config.json").exists():
        raise CheckpointError(f"{setting}={folder}: has no config.json, so it is not a model's folder")
    _check_safetensors(setting, folder)


def _check_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").exists():
        raise CheckpointError(f"CONGRAD_ADAPTER={folder}: has no adapter_config.json, so it is not a PEFT adapter")
    if not (folder / ADAPTER_WEIGHTS).exists():
        _check_safetensors("CONGRAD_ADAPTER", folder)
        # PEFT would load a pickle in its place, which no fingerprint covers.
        raise CheckpointError(f"CONGRAD_ADAPTER={folder}: has no {ADAPTER_WEIGHTS}, which is what PEFT reads")


def _check_safetensors(setting: str, folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickled:
        raise CheckpointError(
            f"{setting}={folder}: holds pickled weights only ({pickled[0]}), and unpickling runs whatever code is in "
            "them; save the model again with safetensors"
        )
    raise CheckpointError(f"{setting}={folder}: has no weights (*.safetensors)")


def _fingerprint(settings: GradientSettings, folders: list[Path]) -> str:
    """A hash of all that gradients depend on: the files' contents and the settings, never a path."""
    digest = hashlib.sha256(f"version={GRADIENTS_VERSION}\n".encode())
    for field in GRADIENT_FIELDS:
        value = getattr(settings, field)
        if field == "reference" and value not in ("policy", "base"):
            value = "path"  # its files are hashed below
        digest.update(f"{field}={value}\n".encode())
    for field in LATER_FIELDS:
        value = getattr(settings, field)
        if value != type(settings).model_fields[field].default:
            digest.update(f"{field}={value}\n".encode())
    for folder in folders:
        for path in sorted(path for pattern in READ for path in folder.glob(pattern)):
            with path.open("rb") as file:
                digest.update(f"{path.name}={hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        digest.update(b"--\n")
    return digest.hexdigest()[:16]
