"""What `load_gradients` says where there is nothing to load."""

import sys
from pathlib import Path

import pytest
from congrad import CongradError, load_gradients


def test_a_job_that_retains_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CongradError, match="job abc has no gradients in the gradient store"):
        list(load_gradients("abc", f"file://{tmp_path}"))


def test_a_store_that_is_no_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGRAD_GRADIENT_STORE", "redis")
    with pytest.raises(ValueError, match="should be the URL of a gradient store"):
        load_gradients("abc")


def test_what_is_missing_to_read_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(CongradError, match=r"pip install 'congrad-filter\[gradients\]'"):
        list(load_gradients("abc", f"file://{tmp_path}"))
