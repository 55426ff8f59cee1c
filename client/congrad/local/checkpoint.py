"""Whether what is named as a checkpoint can be one: what a worker would say half a minute later, said at once."""

import re
from pathlib import Path

from congrad.local.redis_server import StartError

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
"""``org/name``, or the bare name that some old models have."""

OF_MODEL, OF_ADAPTER = "config.json", "adapter_config.json"


def check_checkpoint(model: str, adapter: str | None = None) -> None:
    """Looks at folders of this machine; whether the hub has a name is for the worker to find out.

    :raises StartError: there is no such folder, it cannot be looked into, or it holds something else.
    """
    try:
        _check(model, adapter)
    except (OSError, RuntimeError) as error:  # of a name that is too long, or of a user that there is not
        raise StartError(f"{model}: cannot be looked at ({error})") from error


def _check(model: str, adapter: str | None) -> None:
    folder = _folder(model)
    if folder is not None and not (folder / OF_MODEL).exists():
        if (folder / OF_ADAPTER).exists():
            raise StartError(f"{model}: holds a PEFT adapter: give its base as --model, and this as --adapter")
        raise StartError(f"{model}: has no {OF_MODEL}, so it is not a model's folder")
    of_adapter = None if adapter is None else _folder(adapter)
    if of_adapter is not None and not (of_adapter / OF_ADAPTER).exists():
        raise StartError(f"{adapter}: has no {OF_ADAPTER}, so it is not a PEFT adapter")


def _folder(name: str) -> Path | None:
    """The folder that is called so; None for a name that the hub may have.

    :raises StartError: it is neither.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise StartError(f"{name}: is a file; the folder of a checkpoint is needed")
    if name.startswith(("/", ".", "~")) or not HUB_NAME.fullmatch(name):
        raise StartError(f"{name}: there is no such folder, and it is no hub name such as Qwen/Qwen3-0.6B")
    return None
