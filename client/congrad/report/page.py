"""The file itself: styles, scripts and data in one page that asks no network for anything.

Texts come from anyone, so none of them is ever part of the page's markup: data is in blocks that a browser does not
run, and a policy in the page's head names the digest of each script that may.
"""

import base64
import gzip
import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from string import Template
from typing import Any

from congrad.files.kinds.values import encode
from congrad.files.opening.compression import bare
from congrad.pictures.modules import FOLDER as PICTURES
from congrad.pictures.modules import joined, one_module

_HERE = Path(__file__).parent
_LIBRARIES = (
    PICTURES / "vendor" / "d3.min.js",
    PICTURES / "vendor" / "plot.min.js",
    _HERE / "vendor" / "diff.min.js",
)
_FONT = PICTURES / "vendor" / "inter.woff2"
_MODULES = (
    "elements.js",
    "saving.js",
    "figures.js",
    "texts.js",
    "overview.js",
    "scores.js",
    "languages.js",
    "pairs.js",
    "extremes.js",
    "table.js",
    "report.js",
)
"""Each imports from those before it, and from the pictures."""
_EXPORT = re.compile("^export ", re.MULTILINE)


def misnamed_page(path: str) -> str | None:
    """What to say before a page is written to a file that its suffix says another kind of."""
    if PurePath(bare(path)).suffix.lower() in ("", ".html", ".htm"):
        return None
    return f"{path}: a report is HTML, whatever the suffix; call it .html, so that a browser opens it"


def page(title: str, summary: Any, pairs: Sequence[Any]) -> bytes:
    """The page.

    :param summary: what is said of all pairs, as JSON can hold it.
    :param pairs: what is shown one by one; they are most of the file, and so compressed.
    """
    libraries = [_text(library).strip() for library in _LIBRARIES]
    licences = [_text(part.with_name(f"{part.name}.LICENSE")) for part in (*_LIBRARIES, _FONT)]
    module = _module()
    style = _font() + _text(PICTURES / "pictures.css") + _text(_HERE / "report.css")
    parts = {
        "title": html.escape(title),
        "policy": " ".join(f"'sha256-{_digest(script)}'" for script in (*libraries, module)),
        "style": style,
        "style_digest": f"sha256-{_digest(style)}",
        "libraries": "\n".join(f"<script>{library}</script>" for library in libraries),
        "licences": html.escape("\n".join(licences)),
        "summary": as_json(summary),
        "pairs": _packed(pairs),
        "module": module,
    }
    return Template(_text(_HERE / "report.html")).substitute(parts).encode("utf-8", "replace")


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element."""
    text = encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _packed(value: Any) -> str:
    # Without a time in it, the same decisions are the same page.
    return base64.b64encode(gzip.compress(encode(value), mtime=0)).decode()


def _module() -> str:
    """The pictures and the page's own modules as one module, which can import from no other in a single file. The
    page's own are in a block, which exports nothing, and so may have names that the pictures have too."""
    own = _EXPORT.sub("", joined(_HERE / name for name in _MODULES))
    return f"{one_module()}\n{{\n{own}\n}}"


def _font() -> str:
    address = f"data:font/woff2;base64,{base64.b64encode(_FONT.read_bytes()).decode()}"
    return f'@font-face {{ font-family: Inter; src: url("{address}") format("woff2"); font-weight: 100 900; }}\n'


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
