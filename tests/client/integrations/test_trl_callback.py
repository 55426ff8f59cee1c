"""What `FilterCallback` tells of the workers that it finds; tests/e2e/test_online.py has it train."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from congrad import Client
from congrad.integrations.trl.callback import FilterCallback, _warn_of_another_base


@pytest.mark.parametrize(
    ("made_on", "name", "is_another"),
    [
        ("/models/policy", "policy+step-0", False),
        ("someone/policy", "policy+step-0", False),
        ("/models/policy", "someone/policy+step-0", False),
        (None, "policy+step-0", False),
        ("/models/policy", "policy-2+step-0", True),
        ("/models/policy", "step-4+step-0", True),  # which an earlier run has left on the workers
    ],
)
def test_an_adapter_that_is_put_onto_another_model_is_told(
    made_on: str | None, name: str, is_another: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "step-0"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": made_on}))
    with caplog.at_level(logging.WARNING, "congrad"):
        _warn_of_another_base(folder, name)
    assert ("the workers put its adapter onto" in caplog.text) is is_another


def test_an_option_that_there_is_not_is_told_before_anything_is_published() -> None:
    trainer: Any = SimpleNamespace()
    wrong: Any = {"bath_size": 8}
    with Client("http://127.0.0.1:1") as client, pytest.raises(TypeError, match="'bath_size'"):
        FilterCallback(trainer, client, **wrong)
