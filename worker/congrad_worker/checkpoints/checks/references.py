"""Whether all that is read of a checkpoint is what its fingerprint is made of, and where links were looked at.

Some of its files name others: an index the shards, a configuration another one or the weights. transformers takes such
a name for a path, wherever that leads, and loads a pickle too where it is one.
"""

import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from congrad_worker.errors import CheckpointError

NAMING = {
    "config*.json": ("configuration_files", "transformers_weights"),
    "tokenizer_config.json": ("fast_tokenizer_files",),
    "*.safetensors.index.json": ("weight_map",),
}
"""Fields that hold names of files, by the files that may have them."""


def check_references(folder: Path, patterns: Collection[str]) -> None:
    """
    :param patterns: of what is read of a checkpoint.
    :raises CheckpointError: one of its files names another that is not beside it, or is not read.
    """
    for pattern, fields in NAMING.items():
        for path in sorted(folder.glob(pattern)):
            for field, name in _names(path, fields):
                if "/" in name:
                    why = "is not in the same folder; put all files of the checkpoint into one"
                elif not any(fnmatchcase(name, pattern) for pattern in patterns):
                    why = "is not read; save the model again with safetensors"
                else:
                    continue
                raise CheckpointError(f"{path}: has {name!r} as {field}, which {why}")


def _names(path: Path, fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Fields, and the names of files in them."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what loads it says what is wrong
        return
    for field in fields if isinstance(found, dict) else ():
        value = found.get(field)
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        yield from ((field, name) for name in sorted({one for one in values if isinstance(one, str)}))
