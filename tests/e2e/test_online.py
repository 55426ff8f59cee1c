"""A trainer whose pairs are scored again on the way: TRL's `DPOTrainer` and real workers, which take its adapters."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import httpx
import pytest
from congrad import Client
from congrad.integrations.trl import FilterCallback
from congrad.local.stack import Stack
from support.faulty_transport import FaultyTransport, Send, away, lost
from support.models import DEMO_CHECKPOINT
from support.waiting import until
from transformers.trainer_utils import SaveStrategy

from examples.trl_dpo_online import trainer_of

ROOT = Path(__file__).parents[2]
ROWS = 24
BATCH = 8

pytestmark = pytest.mark.filterwarnings(
    "ignore:`.*gradient_checkpointing` is deprecated:FutureWarning",  # TRL 1.16 asks transformers 5 for it
    "ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning",  # TRL's default
)


@pytest.fixture(scope="module")
def folder(publishable: Path) -> Path:
    """Where adapters go."""
    made = publishable / "online"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def online(stack: Stack) -> Iterator[Stack]:
    """The stack of other tests, whose workers may load what lies in the folder. What it served at first is published
    again at the end."""
    with Client(stack.url) as client:
        (first,) = client.checkpoints()
        yield stack
        (last,) = client.checkpoints()
        if last.fingerprint != first.fingerprint:
            again = client.checkpoints.publish(model=DEMO_CHECKPOINT, replaces=last.fingerprint, timeout=120)
            assert again.fingerprint == first.fingerprint


@pytest.fixture
def trainer(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's, on a few pairs. ``drawn`` has the rows of each batch."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return recording(folder / tmp_path.name)


def recording(output: Path) -> Any:
    """A trainer that notes what it draws."""
    data, model = DEMO_CHECKPOINT.parent / "pairs.jsonl", DEMO_CHECKPOINT
    asked = argparse.Namespace(data=str(data), model=str(model), output=str(output), epochs=2, rows=ROWS)
    made: Any = trainer_of(asked)
    rows = {tuple(row["prompt_ids"] + row["chosen_ids"]): number for number, row in enumerate(made.train_dataset)}
    collate, made.drawn = made.data_collator, []

    def collated(batch: list[dict[str, Any]]) -> Any:
        made.drawn.append([rows[tuple(row["prompt_ids"] + row["chosen_ids"])] for row in batch])
        return collate(batch)

    made.data_collator = collated
    return made


def test_each_epoch_is_trained_on_what_its_own_policy_keeps(online: Stack, trainer: Any) -> None:
    folder = Path(trainer.args.output_dir, "congrad")
    mine = folder / "step-0-mine"
    mine.mkdir(parents=True)
    with Client(online.url, max_retries=0) as client:
        callback = FilterCallback(trainer, client, direction="online")
        trainer.add_callback(callback)
        trainer.train()
        first, second = callback.history
        (served,) = client.checkpoints()
        assert served.fingerprint == callback.checkpoint == second.fingerprint != first.fingerprint
        for scored in callback.history:
            assert len(scored.keep) == ROWS
            assert 0 < scored.kept < ROWS
            languages = client.directions.get(f"online-{scored.fingerprint}").languages
            assert sum(language.samples for language in languages.values()) == ROWS
    steps = -(-first.kept // BATCH)
    assert (first.step, second.step, trainer.state.global_step) == (0, steps, 2 * steps)
    for scored, batches in ((first, trainer.drawn[:steps]), (second, trainer.drawn[steps:])):
        drawn = [row for batch in batches for row in batch]
        assert len(drawn) == first.kept
        assert all(scored.keep[row] for row in drawn)
    assert trainer.drawn[0] != sorted(trainer.drawn[0]), "in an order of its own"
    assert {*folder.iterdir()} == {folder / f"step-{steps}", mine}, "of its own only the latest is left"


def test_what_an_earlier_run_has_left_is_no_part_of_what_is_published(online: Stack, trainer: Any) -> None:
    """Of a run with an adapter, that adapter would have been taken for the whole model that this one trains."""
    left = Path(trainer.args.output_dir, "congrad", "step-0", "of-another-run.json")
    left.parent.mkdir(parents=True)
    left.touch()
    with Client(online.url, max_retries=0) as client:
        trainer.add_callback(FilterCallback(trainer, client))
        trainer.args.max_steps = 1
        trainer.train()
    assert (left.parent / "adapter_config.json").exists()
    assert not left.exists()


@pytest.mark.parametrize("is_named", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_policy_whose_publication_is_never_answered_is_what_the_next_one_replaces(
    is_named: bool, online: Stack, trainer: Any
) -> None:
    """The service goes away when it has taken the order, and comes back when the policy is served."""
    is_away = False

    def rule(_: int, request: httpx.Request, send: Send) -> httpx.Response:
        nonlocal is_away
        if transport.asked[-1] == ("POST", "/checkpoints") and transport.asked.count(transport.asked[-1]) == 1:
            send()
            until(lambda: old.fingerprint not in [one.fingerprint for one in direct.checkpoints()])
            is_away = True
            return lost(request)
        return away(request) if is_away else send()

    def back(*_: Any, **__: Any) -> None:
        nonlocal is_away
        is_away = False

    transport = FaultyTransport(rule)
    with Client(online.url) as direct, Client(transport=transport, base_url=online.url, max_downtime=0) as client:
        # Not what another test has left: all of them begin with the same adapter.
        old = direct.checkpoints.publish(model=DEMO_CHECKPOINT, timeout=120)
        replaces = old.name if is_named else None
        callback = FilterCallback(trainer, client, every=1, replaces=replaces, on_unavailable="keep", direction="lost")
        callback.on_step_begin = back  # type: ignore[method-assign]
        trainer.add_callback(callback)
        trainer.args.max_steps = 2
        trainer.train()
        (served,) = direct.checkpoints()
    first, second = callback.history
    assert (first.fingerprint, first.kept) == (None, ROWS)
    assert second.fingerprint == served.fingerprint
    assert second.kept < ROWS


def test_workers_sleep_while_the_trainer_steps_and_pairs_are_scored_again_after_some_steps(
    online: Stack, trainer: Any
) -> None:
    asleep: list[int] = []
    with Client(online.url, max_retries=0) as client:
        callback = FilterCallback(trainer, client, every=2, sleep=True)
        trainer.add_callback(callback)
        step = trainer.training_step

        def watched(*args: Any, **options: Any) -> Any:
            asleep.append(sum(worker.asleep is not None for worker in client.workers()))
            return step(*args, **options)

        trainer.training_step = watched
        trainer.args.max_steps = 3
        trainer.train()
        assert [scored.step for scored in callback.history] == [0, 2]
        assert asleep == [1, 1, 1]
        assert not [worker for worker in client.workers() if worker.asleep is not None]


def saving(output: Path) -> Any:
    """A trainer that saves a checkpoint after each step."""
    made = recording(output)
    made.args.save_strategy, made.args.save_steps = SaveStrategy.STEPS, 1
    return made


@pytest.mark.slow  # what a checkpoint must say of it: the next test
@pytest.mark.parametrize("every", ["epoch", 1])
def test_what_resumes_draws_and_keeps_what_an_uninterrupted_run_does(online: Stack, trainer: Any, every: Any) -> None:
    """From the middle of an epoch, from its last step, which is saved before the pairs are scored for the next one, and
    from the middle of that."""
    output = Path(trainer.args.output_dir)
    whole = saving(output)
    with Client(online.url, max_retries=0) as client:
        callback = FilterCallback(whole, client, every=every, direction=f"whole-{every}")
        whole.add_callback(callback)
        whole.train()
        steps = whole.state.max_steps // 2
        assert steps > 1, "an epoch has a middle"
        for step in (1, steps, steps + 1):
            trainer = recording(output)
            resumed = FilterCallback(trainer, client, every=every, sleep=step > 1, direction=f"whole-{every}")
            trainer.add_callback(resumed)
            trainer.train(resume_from_checkpoint=str(output / f"checkpoint-{step}"))
            assert trainer.state.max_steps == trainer.state.global_step == whole.state.max_steps
            assert trainer.drawn == whole.drawn[step:]
            assert resumed.history == callback.history
            assert not [worker for worker in client.workers() if worker.asleep is not None]


def test_a_checkpoint_that_does_not_say_what_was_kept_is_told_of(
    online: Stack, trainer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    output = Path(trainer.args.output_dir)
    before = saving(output)
    before.args.max_steps = 1
    before.train()
    trainer.args.max_steps = 2
    with Client(online.url, max_retries=0) as client:
        trainer.add_callback(FilterCallback(trainer, client, direction="unsaid"))
        trainer.train(resume_from_checkpoint=str(output / "checkpoint-1"))
    assert "checkpoint-1 does not say what was kept" in caplog.text


def launched(url: str, output: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The example in two processes, as a user launches it."""
    # The name of the option is that of the launcher: the script asks for CPUs.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    script = [str(ROOT / "examples" / "trl_dpo_online.py"), "--url", url, "--output", str(output)]
    return subprocess.run(
        [*launch, *script, "--rows", str(ROWS), "--epochs", "2"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow  # without a trainer: test_ranks.py
def test_two_processes_of_a_launch_draw_from_the_same_rows(online: Stack, folder: Path, tmp_path: Path) -> None:
    output = folder / "launched"
    done = launched(online.url, output, tmp_path)
    assert done.returncode == 0, done.stderr
    scored = re.findall(r"^step (\d+): kept (\d+) of 24 pairs \((\w+)\)$", done.stdout, re.MULTILINE)
    assert len(scored) == 2, "the main process alone prints, and two epochs are scored"
    with Client(online.url) as client:
        (served,) = client.checkpoints()
        jobs = [job for job in client.jobs.list(500) if job.direction == f"trl-{scored[1][2]}"]
    assert served.fingerprint == scored[1][2] != scored[0][2]
    assert sum(job.samples for job in jobs) <= 2 * ROWS, "asked once, in two passes"
    assert (output / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_where_the_main_process_is_refused_none_waits_for_it(online: Stack, tmp_path: Path) -> None:
    done = launched(online.url, tmp_path / "not-allowed", tmp_path)
    assert done.returncode != 0
    assert "PermissionDeniedError" in done.stderr
    assert "CongradError: the main process failed: PermissionDeniedError" in done.stderr
