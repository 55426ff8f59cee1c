"""What `FilterCallback` tells of the workers that it finds; tests/e2e/test_online.py has it train."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from congrad import APIConnectionError, Client, PermissionDeniedError
from congrad.integrations.trl.callback import FilterCallback, _warn_of_another_base
from congrad.integrations.trl.record import Scored
from datasets import Dataset
from support.stub_service import problem

ROWS = 3


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


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    """What the callback looks at before a trainer's first step; tests/e2e/test_online.py has the real one."""
    pair = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
    return SimpleNamespace(
        train_dataset=Dataset.from_list([pair] * ROWS),
        args=SimpleNamespace(output_dir=str(tmp_path), seed=0),
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(is_main_process=True, num_processes=1, wait_for_everyone=lambda: None),
        save_model=lambda folder, _internal_call: Path(folder).mkdir(parents=True),
        _inner_training_loop=lambda: None,
    )


class Away:
    """A service that cannot be reached the first few times, and then refuses what is published."""

    def __init__(self, attempts: float):
        self.attempts = attempts
        self.paths: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if len(self.paths) <= self.attempts:
            raise httpx.ConnectError("refused", request=request)
        match request.method, request.url.path:
            case "GET", "/readyz":
                return httpx.Response(200, json={"status": "ready"})
            case "GET", "/checkpoints":
                return httpx.Response(200, json=[])
        return problem(403, "not allowed")

    def client(self, max_downtime: float) -> Client:
        return Client(max_retries=0, max_downtime=max_downtime, transport=httpx.MockTransport(self))


def test_all_rows_are_kept_where_the_policy_cannot_be_published_and_that_was_asked_for(
    trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(attempts=float("inf"))
    with away.client(max_downtime=1.0) as client:
        callback = FilterCallback(trainer, client, on_unavailable="keep", sleep=True)
        sampler = trainer._get_train_sampler()
        assert sorted(sampler) == [0, 1, 2]
        assert callback.history == [Scored(0, None, [True] * ROWS)]
        assert callback.checkpoint is None
        assert "all 3 pairs are kept" in caplog.text
        assert away.paths.count("/readyz") > 1
        away.paths.clear()
        trainer.state.global_step = 1
        trainer._get_train_sampler()
        assert away.paths == ["/readyz"], "it is not waited for, nor asked, again before it is ready"
        callback.on_train_end()


def test_without_that_a_policy_that_cannot_be_published_ends_the_training(trainer: Any) -> None:
    with Away(attempts=float("inf")).client(max_downtime=0) as client:
        FilterCallback(trainer, client)
        with pytest.raises(APIConnectionError):
            trainer._get_train_sampler()


@pytest.mark.parametrize("options", [{}, {"on_unavailable": "keep"}])
def test_a_service_that_comes_back_is_waited_for_and_what_it_refuses_is_no_matter_of_being_away(
    trainer: Any, options: Any
) -> None:
    with Away(attempts=2).client(max_downtime=30) as client:
        FilterCallback(trainer, client, **options)
        with pytest.raises(PermissionDeniedError):
            trainer._get_train_sampler()
