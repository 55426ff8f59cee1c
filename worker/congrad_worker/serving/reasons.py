"""Why a checkpoint cannot be served, as others are told it: without the paths of this machine."""

import re
from pathlib import Path

FOLDERS = re.compile(r"""(?<![\w.:/])/(?:[^\s/:'"]+/)+""")
"""Of a path from the root on, all but its name; and nothing of an address in the web."""


def without_folders(reason: str, *sources: str | None) -> str:
    """What is said of a checkpoint, with the names of folders in place of their paths. Messages tell of folders without
    links, too, and of those in the cache of the hub.

    :param sources: where it lies, as that was asked for; the path may have spaces in it.
    """
    for source in filter(None, sources):
        for path in (source, str(Path(source).expanduser().resolve())):
            reason = reason.replace(path, Path(path).name)
    return FOLDERS.sub("", reason)
