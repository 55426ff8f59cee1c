"""`congrad demo` where it cannot begin; what it does where it can is in `tests/e2e`."""

import tempfile
from pathlib import Path

import pytest
from congrad.commands.app import app
from congrad.local import stack
from typer.testing import CliRunner


def test_a_demo_that_nothing_was_started_for_names_no_log_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(stack, "find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 2
    assert "pip install 'congrad-filter[all]'" in done.output
    assert "log" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_demo_without_a_folder_for_temporary_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 2
    assert "TMPDIR" in done.output
