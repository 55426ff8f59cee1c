"""Whether a checkpoint asks for code that is not its own: its configuration may name a kernel of the hub."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from congrad_worker.errors import CheckpointError

CHOICE = "_implementation"
"""How the names end of what chooses the code for a part: ``attn_implementation``, ``experts_implementation``."""


def check_kernels(setting: str, folder: Path) -> None:
    """transformers fetches such a kernel and runs it, where the package ``kernels`` is there: ``trust_remote_code`` is
    about code of models only.

    :param setting: what the checkpoint is called.
    :raises CheckpointError: it names one.
    """
    for path in sorted(folder.glob("config*.json")):  # one may name another, for some versions of transformers
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # what loads it says what is wrong
            continue
        for name, kernel in _choices(config):
            raise CheckpointError(
                f"{setting}: {path.name} has {kernel!r} as {name}, a kernel of the hub, and code of others is not run: "
                "take it out"
            )


def _choices(config: Any) -> Iterator[tuple[str, str]]:
    """Names and repositories, those of parts of the model too."""
    for name, value in config.items() if isinstance(config, dict) else ():
        if name.endswith(CHOICE):
            chosen = value.values() if isinstance(value, dict) else [value]
            yield from ((name, one) for one in chosen if isinstance(one, str) and "/" in one)
        else:
            yield from _choices(value)
