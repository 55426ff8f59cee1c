"""The files of a checkpoint: found, checked and fingerprinted without loading them, and so without torch."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from congrad_worker.checkpoints.checks.references import check_references
from congrad_worker.checkpoints.digests import Contents, contents
from congrad_worker.errors import CheckpointError
from congrad_worker.settings import GradientSettings

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
OF_TRAINING = ("optimizer", "scheduler", "scaler", "rng_state", "training_args")
"""How the names of pickles begin that a trainer saves beside the weights."""
SHARDS = ("pytorch_model_fsdp*", "global_step*")
"""What FSDP and DeepSpeed save in place of a model's weights: folders with a part from each process."""
READ = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "additional_chat_templates/*.jinja")
"""What transformers reads of a checkpoint when pickles and remote code are out of the question."""

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

GRADIENT_FIELDS = (
    "loss", "reference", "beta", "label_smoothing", "simpo_gamma", "length_penalty", "ld_alpha", "target_modules",
    "unit_gradients", "projection", "projection_rank", "projection_dim", "seed", "max_length", "dtype", "load_in_4bit",
)  # fmt: skip

LATER_FIELDS = (
    "loss_weights", "discopop_tau", "f_divergence_type", "f_alpha_divergence_coef", "desirable_weight",
    "undesirable_weight", "use_weighting", "layers", "fp8",
)  # fmt: skip
"""Gradients depend on these too. They came later, and count where they are not at their default: what had been served
without them keeps its fingerprint, and its directions."""

GRADIENTS_VERSION = 5
"""Raised when the same files and settings come to give other numbers, so that a direction never mixes the two."""


@dataclass(frozen=True)
class CheckpointFiles:
    """Where a checkpoint lies. ``fingerprint`` is equal where gradients may be mixed, and only there; it was made of
    the ``contents`` of model, adapter and reference."""

    base: str
    """The model's name."""
    adapted: str | None
    """The adapter's."""
    model: Path
    adapter: Path | None
    reference: Path | None
    fingerprint: str
    contents: tuple[Contents, ...]

    @property
    def name(self) -> str:
        """That of the model, and of the adapter where there is one."""
        return self.base if self.adapted is None else f"{self.base}+{self.adapted}"

    def has_base_of(self, other: "CheckpointFiles") -> bool:
        """Whether both are the same but for an adapter."""
        return self._base_lines == other._base_lines

    @property
    def _base_lines(self) -> list[str]:
        return [one.lines for one in self.contents if one.folder != self.adapter]

    def check_unchanged(self, adapter_only: bool = False) -> None:
        """:raises CheckpointError: a file is no longer that which the fingerprint was made of."""
        for one in self.contents:
            if (not adapter_only or one.folder == self.adapter) and (what := one.changed) is not None:
                raise CheckpointError(f"{self.name}: {what}")
        if not adapter_only and (self.model / ADAPTER_CONFIG).exists():  # transformers would put it onto the model
            raise CheckpointError(f"{self.name}: an adapter was put into the model's own folder after it was looked at")


@contextmanager
def _readable() -> Iterator[None]:
    """:raises CheckpointError: a file or a folder cannot be read: it is another user's, or a link to nowhere, as in a
    folder of the hub's cache that was copied without what its links lead to."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}") from error


@_readable()
def locate(settings: GradientSettings) -> CheckpointFiles:
    """Finds the files that ``settings`` name, on this machine or in the Hugging Face cache or hub.

    :raises CheckpointError: something is missing, cannot be read, or is not in safetensors.
    """
    model = _folder("CONGRAD_MODEL", settings.model)
    _check_model("CONGRAD_MODEL", model)
    adapter = _adapter(settings)
    reference = None
    if settings.reference not in ("policy", "base"):
        reference = _folder("CONGRAD_REFERENCE", settings.reference)
        _check_model("CONGRAD_REFERENCE", reference)
    found = [contents(folder, READ) for folder in (model, adapter, reference) if folder is not None]
    for one in found:
        check_references(one.folder, READ)
    return CheckpointFiles(
        base=_name(settings.model),
        adapted=None if settings.adapter is None else _name(settings.adapter),
        model=model,
        adapter=adapter,
        reference=reference,
        fingerprint=_fingerprint(settings, found),
        contents=tuple(found),
    )


@_readable()
def relocate(files: CheckpointFiles, settings: GradientSettings) -> CheckpointFiles:
    """The same model and reference, whose files are not looked at again, with the adapter that ``settings`` name.

    :raises CheckpointError: something is missing, cannot be read, or is not in safetensors.
    """
    adapter = _adapter(settings)
    if adapter == files.model:
        raise CheckpointError(
            f"CONGRAD_ADAPTER={settings.adapter}: is the folder of the model that is in memory, which could not be "
            "read again; an adapter needs a folder of its own"
        )
    kept = [one for one in files.contents if one.folder != files.adapter]
    if adapter is not None:
        kept.insert(1, contents(adapter, READ))
    return replace(
        files,
        adapted=None if settings.adapter is None else _name(settings.adapter),
        adapter=adapter,
        contents=tuple(kept),
        fingerprint=_fingerprint(settings, kept),
    )


def _adapter(settings: GradientSettings) -> Path | None:
    if settings.adapter is None:
        if settings.reference == "base":
            raise CheckpointError("CONGRAD_REFERENCE=base switches the adapter off, so it needs CONGRAD_ADAPTER")
        return None
    adapter = _folder("CONGRAD_ADAPTER", settings.adapter)
    _check_adapter(adapter)
    return adapter


def _name(model: str) -> str:
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def _folder(setting: str, value: str) -> Path:
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise CheckpointError(f"{setting}={value}: no home directory is known that its ~ stands for") from None
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
    has_adapter = (folder / ADAPTER_CONFIG).exists()
    if has_adapter and not (folder / "config.json").exists():
        meant = "set CONGRAD_MODEL to its base and CONGRAD_ADAPTER to it"
        if setting == "CONGRAD_REFERENCE":
            meant = "a reference is a whole model: merge the adapter into its base (merge_and_unload), and save that"
        raise CheckpointError(f"{setting}={folder}: holds a PEFT adapter; {meant}")
    if not (folder / "config.json").exists():
        raise CheckpointError(f"{setting}={folder}: has no config.json, so it is not a model's folder")
    if has_adapter:  # transformers would put it onto the model, and no more is said of it
        meant = "move it to a folder of its own"
        if setting == "CONGRAD_MODEL":
            meant += ", and set CONGRAD_ADAPTER to that if it is meant"
        raise CheckpointError(f"{setting}={folder}: holds a PEFT adapter beside the model; {meant}")
    _check_safetensors(setting, folder)


def _check_adapter(folder: Path) -> None:
    if not (folder / ADAPTER_CONFIG).exists():
        raise CheckpointError(f"CONGRAD_ADAPTER={folder}: has no adapter_config.json, so it is not a PEFT adapter")
    if not (folder / ADAPTER_WEIGHTS).exists():
        _check_safetensors("CONGRAD_ADAPTER", folder)
        # PEFT would load a pickle in its place, which no fingerprint covers.
        raise CheckpointError(f"CONGRAD_ADAPTER={folder}: has no {ADAPTER_WEIGHTS}, which is what PEFT reads")


def _check_safetensors(setting: str, folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    names = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    pickled = [name for name in names if not name.startswith(OF_TRAINING)]
    if pickled:
        raise CheckpointError(
            f"{setting}={folder}: holds pickled weights only ({pickled[0]}), and unpickling runs whatever code is in "
            "them; save the model again with safetensors"
        )
    why = ""
    if shards := sorted(path.name for pattern in SHARDS for path in folder.glob(pattern)):
        why = f"; {shards[0]} holds the parts of a training state, of which a model has to be made first"
    raise CheckpointError(f"{setting}={folder}: has no weights (*.safetensors){why}")


def _fingerprint(settings: GradientSettings, found: Sequence[Contents]) -> str:
    """A hash of all that gradients depend on: the files' contents and the settings, never a path."""
    digest = hashlib.sha256(f"version={GRADIENTS_VERSION}\n".encode())
    for field in GRADIENT_FIELDS:
        value = getattr(settings, field)
        if field == "reference" and value not in ("policy", "base"):
            value = "path"  # its files are among the contents
        digest.update(f"{field}={value}\n".encode())
    for field in LATER_FIELDS:
        value = getattr(settings, field)
        if value != type(settings).model_fields[field].default:
            digest.update(f"{field}={value}\n".encode())
    for one in found:
        digest.update(one.lines.encode())
    return digest.hexdigest()[:16]
