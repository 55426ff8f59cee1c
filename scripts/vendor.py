"""Takes the browser libraries that the project ships from npm, at the versions pinned here: `make vendor`.

Each file lies beside the licence of its package. What is in git is what this writes, byte for byte.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "client/congrad/pictures/vendor"
REPORT = ROOT / "client/congrad/report/vendor"
DASHBOARD = ROOT / "service/congrad_service/dashboard/vendor"
TESTS = ROOT / "tests/support/vendor"


@dataclass(frozen=True)
class Library:
    """One file of an npm package, what it is called here, and the licences that go with it."""

    package: str
    file: str
    target: Path
    licences: tuple[str, ...] = ("LICENSE",)


LIBRARIES = (
    Library("d3@7.9.2", "dist/d3.min.js", PICTURES / "d3.min.js"),
    Library("@observablehq/plot@0.6.17", "dist/plot.umd.min.js", PICTURES / "plot.min.js"),
    Library("@fontsource-variable/inter@5.3.0", "files/inter-latin-wght-normal.woff2", PICTURES / "inter.woff2"),
    Library("diff@9.0.0", "dist/diff.min.js", REPORT / "diff.min.js"),
    Library("htm@3.1.1", "preact/standalone.module.js", DASHBOARD / "htm-preact.js"),
    Library("preact@10.5.13", "LICENSE", DASHBOARD / "preact.LICENSE", ()),  # the file of htm holds preact
    Library(
        "swagger-ui-dist@5.35.0",
        "swagger-ui-bundle.js",
        DASHBOARD / "swagger-ui.js",
        ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"),
    ),
    Library("swagger-ui-dist@5.35.0", "swagger-ui.css", DASHBOARD / "swagger-ui.css", ()),
    Library("axe-core@4.14.1", "axe.min.js", TESTS / "axe.min.js", ("LICENSE", "LICENSE-3RD-PARTY.txt")),
)


def main() -> None:
    """Writes every file anew."""
    for vendored in {library.target.parent for library in LIBRARIES}:
        shutil.rmtree(vendored, ignore_errors=True)
        vendored.mkdir(parents=True)
    for library in LIBRARIES:
        with tempfile.TemporaryDirectory() as folder:
            take(library, unpacked(library.package, Path(folder)))
        sys.stdout.write(f"{library.package}: {library.target.relative_to(ROOT)}\n")


def unpacked(package: str, folder: Path) -> Path:
    """The files of a package. npm checks what it receives against the registry's digest."""
    subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, package], check=True, stdout=sys.stderr)  # noqa: S607
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def take(library: Library, package: Path) -> None:
    """Copies the file, and its licences beside it."""
    shutil.copyfile(package / library.file, library.target)
    for licence in library.licences:
        shutil.copyfile(package / licence, library.target.with_name(f"{library.target.name}.{licence}"))


if __name__ == "__main__":
    main()
