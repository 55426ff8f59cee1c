"""The files of the dashboard: a page without a build step, served from memory."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from congrad.pictures.modules import FOLDER as PICTURES

PAGE = "index.html"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""By suffix; other files, such as licences and modules of Python, are not served."""


@dataclass(frozen=True)
class Asset:
    """One file. Its tag changes with its content."""

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """Weak: the same for the compressed form."""
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        """Gzipped, unless the format is compressed by itself."""
        return None if self.media_type.startswith("font/") else gzip.compress(self.content, mtime=0)


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Asset]]:
    for path in folder.rglob("*"):
        if path.suffix in MEDIA_TYPES:
            yield prefix + path.relative_to(folder).as_posix(), Asset(path.read_bytes(), MEDIA_TYPES[path.suffix])


def load_assets() -> dict[str, Asset]:
    """Every file by its path below ``/dashboard/``."""
    return dict([*_files(Path(__file__).parent, ""), *_files(PICTURES, "pictures/")])
