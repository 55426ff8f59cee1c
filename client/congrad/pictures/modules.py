"""Where the pictures are, and all of them as one module.

``pictures.js`` says in its head what they need, and what each picture is drawn from.
"""

import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
"""Holds the modules, ``pictures.css``, and the libraries that they need under ``vendor``."""

_MODULES = ("numbers", "drawing", "order", "cosines", "histograms", "scores", "conflicts", "versions", "samples")
"""Each imports from those before it only."""

_IMPORT = re.compile(r"^import .*?;\n", re.DOTALL | re.MULTILINE)


def one_module() -> str:
    """The pictures as a module that imports nothing, for a page that is a single file."""
    return joined(FOLDER / f"{name}.js" for name in _MODULES)


def joined(modules: Iterable[Path]) -> str:
    """Modules that import from those before them only, and have no name twice, as one."""
    return "\n".join(_IMPORT.sub("", module.read_text(encoding="utf-8")) for module in modules)
