"""What names the release, beside pyproject.toml."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml  # type: ignore[import-untyped] # no stubs here

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_what_is_installed_is_this_version() -> None:
    assert version("congrad-filter") == VERSION


def test_the_citation_is_of_this_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == VERSION


def test_the_images_are_labelled_with_this_version() -> None:
    labels = re.findall(r'image\.version="(.*)"', (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert labels == [VERSION, VERSION]
