"""What `load_gradients` says where there is nothing to load."""

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
