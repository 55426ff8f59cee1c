"""Which file of a checkpoint is broken, once it could not be loaded: libraries say what they met, and not where.

What loads is not looked at.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open

PARSED = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "chat_template.json", "model.safetensors.index.json", "adapter_config.json",
)  # fmt: skip
"""What transformers and PEFT read of a checkpoint as JSON, and do not go on without."""

TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
"""What tokenizers are kept in."""

POINTER = b"version https://git-lfs.github.com/"
"""How a file begins that Git LFS has left in the place of another."""


def broken_file(folders: Iterable[Path]) -> str | None:
    """The first file in ``folders`` that is not what its name says, and why; None where all are."""
    for folder in folders:
        pieces = [] if (folder / "tokenizer.json").is_file() else sorted(folder.glob("*.model"))
        for path in [*(folder / name for name in PARSED), *pieces, *sorted(folder.glob("*.safetensors"))]:
            if path.is_file() and (why := _why_broken(path)):
                return f"{folder.name}/{path.name} {why}"  # it may be told to whoever has published it
    return None


def has_tokenizer(folder: Path) -> bool:
    """Whether there is a file that a tokenizer could be read from."""
    return any(any(folder.glob(pattern)) for pattern in TOKENIZERS)


def _why_broken(path: Path) -> str | None:
    with path.open("rb") as file:
        beginning = file.read(len(POINTER))
    if not beginning:
        return "is empty"
    if beginning == POINTER:
        return "is a pointer of Git LFS and not the file itself, which `git lfs pull` fetches"
    if path.suffix == ".model":  # SentencePiece's own, or a text of another kind
        return None
    return _why_no_json(path) if path.suffix == ".json" else _why_no_tensors(path)


def _why_no_json(path: Path) -> str | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"is not JSON: {error}"
    return None if isinstance(found, dict) else "is not a JSON object"


def _why_no_tensors(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt"):
            return None
    except SafetensorError as error:
        return f"is not a whole safetensors file: {error}"
