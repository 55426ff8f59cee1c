"""The self-rewarding example: run as a user runs it, and the parts of it that a wrong number would not show in."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from congrad import Client
from congrad.errors import CongradError
from congrad.local.stack import Stack
from congrad_worker.gradients.losses.formulas import Scores, lp
from support.models import DEMO_CHECKPOINT, settings
from support.pairs import demo_samples
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.self_rewarding.__main__ import main
from examples.self_rewarding.judging import Message, Pair, best_against_worst
from examples.self_rewarding.policy import GRADING, Policy
from examples.self_rewarding.prompts import Answer, Answered, Prompt
from examples.self_rewarding.settings import Settings
from examples.self_rewarding.steps import once, whole
from examples.self_rewarding.training import trainer_of
from examples.self_rewarding.workers import filter_pairs

ROOT = Path(__file__).parents[2]
SEEN, UNSEEN = ["de", "en", "it"], "es"

TRL_WARNINGS = pytest.mark.filterwarnings(
    "ignore:`.*gradient_checkpointing` is deprecated:FutureWarning"  # TRL 1.16 asks transformers 5 for it
)


def write_settings(folder: Path, **changes: Any) -> Path:
    """Settings of a run that is smaller yet than ``tiny.toml``, in four languages."""
    rows = [{name: row[name] for name in ("language", "prompt")} for row in demo_samples(*SEEN, UNSEEN)]
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {
        "model": str(DEMO_CHECKPOINT),
        "prompts": str(prompts),
        "seen": SEEN,
        "dtype": "float32",
        "reward": "examples.self_rewarding.rewards.own_language",
        "prompts_per_round": 4,
        "held_out": 2,
        "candidates": 3,
        "max_new_tokens": 48,
        "batch_size": 12,
        "max_length": 256,
        "learning_rate": 2e-3,
        "train_batch_size": 4,
        "accumulation": 1,
        **changes,
    }
    path = folder / "settings.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))
    return path


def run(given: Path, output: Path, rounds: int = 2) -> subprocess.CompletedProcess[str]:
    """The example, from the repository's root."""
    return subprocess.run(
        [sys.executable, "-m", "examples.self_rewarding", str(given), "--output", str(output), "--rounds", str(rounds)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(output.parent / "cache"), "OMP_NUM_THREADS": "1"},
    )


def state(folder: Path) -> dict[str, tuple[int, str]]:
    """When each file was last written, and its content's hash; without what the stack keeps for itself."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "stack"
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
@TRL_WARNINGS
def test_two_rounds_run_and_a_round_that_was_lost_is_made_again_without_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, output = write_settings(tmp_path), tmp_path / "run"
    done = run(given, output)
    assert done.returncode == 0, done.stderr
    first, second = (read(output / f"round-{number}" / "report.json") for number in (1, 2))
    assert first["fingerprint"] != second["fingerprint"]
    for number, report in ((1, first), (2, second)):
        check_round(output / f"round-{number}", report)
        line = re.search(rf"^round {number}: kept (\d+) of (\d+) pairs from (\d+) prompts", done.stdout, re.MULTILINE)
        assert line is not None
        assert [int(value) for value in line.groups()] == [
            sum(own["kept"] for own in report["languages"].values()),
            sum(own["pairs"] for own in report["languages"].values()),
            4 * len(SEEN),
        ]
    assert {tag: own["judged_after"] for tag, own in first["languages"].items()} == {
        tag: own["judged_before"] for tag, own in second["languages"].items()
    }
    second_files = ("pairs.json", "decisions.json", "report.json")
    before, lost = state(output), [read(output / "round-2" / name) for name in second_files]
    shutil.rmtree(output / "round-2")
    # In this process, which has long imported what it needs.
    main([str(given), "--output", str(output)])
    said = capsys.readouterr().out
    after = state(output)
    assert {name: after[name] for name in before if not name.startswith("round-2/")} == {
        name: was for name, was in before.items() if not name.startswith("round-2/")
    }
    assert "round 2: trained" in said
    assert "round 1: trained" not in said
    # The same answers make the same pairs, which the service has counted already: once, as the direction says.
    assert [read(output / "round-2" / name) for name in second_files[:2]] == lost[:2]
    assert read(output / "round-2" / "report.json")["fingerprint"] == second["fingerprint"]


def check_round(folder: Path, report: Any) -> None:
    """The files of a round say the same as each other."""
    pairs, decided = read(folder / "pairs.json"), read(folder / "decisions.json")
    languages = [pair["language"] for pair in pairs]
    assert [decision["language"] for decision in decided["decisions"]] == languages
    counted = {tag: language["samples"] for tag, language in decided["direction"]["languages"].items()}
    assert counted == {tag: languages.count(tag) for tag in set(languages)}
    assert set(counted) <= set(SEEN)
    assert decided["direction"]["fingerprint"] == report["fingerprint"]
    assert report["languages"].keys() == {*SEEN, UNSEEN}
    assert report["languages"][UNSEEN]["pairs"] == 0
    assert all(0 < own["judged_after"] <= 1 for own in report["languages"].values())
    assert (folder / f"policy-{folder.name[-1]}" / "model.safetensors").exists()
    assert not list(folder.rglob("*.partial"))


def test_workers_with_another_loss_than_the_training_are_refused(stack: Stack, tmp_path: Path) -> None:
    given = Settings(model="", prompts=tmp_path, url=stack.url)
    with Client(stack.url) as client:
        with pytest.raises(CongradError, match="the workers compute the loss 'sigmoid'"):
            filter_pairs(PAIRS, str(DEMO_CHECKPOINT), client, given)
        assert not [direction for direction in client.directions.list() if "self-rewarding" in direction.name]


def test_a_run_with_other_settings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    output.mkdir()
    other = Settings(model="another", prompts=tmp_path)
    (output / "settings.json").write_text(other.model_dump_json())
    with pytest.raises(SystemExit, match="2"):
        main([str(write_settings(tmp_path)), "--output", str(output)])
    assert "is a run with other settings" in capsys.readouterr().err


PAIRS = [
    Pair(
        language=row["language"],
        prompt=[Message(role="user", content=row["prompt"])],
        chosen=[Message(role="assistant", content=row["chosen"])],
        rejected=[Message(role="assistant", content=row["rejected"])],
    )
    for row in demo_samples("de", "en", each=2)
]


@TRL_WARNINGS
def test_the_trainer_has_the_loss_of_the_workers(tmp_path: Path) -> None:
    given = Settings(
        model="", prompts=tmp_path, dtype="float32", beta=0.2, length_penalty=0.03, train_batch_size=4, max_length=256
    )
    trainer: Any = trainer_of(PAIRS, str(DEMO_CHECKPOINT), tmp_path, given)
    model = trainer.model
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero, and so the policy its own reference, until training begins
            torch.nn.init.normal_(parameter, std=0.02)
    batch = next(iter(trainer.get_train_dataloader()))
    trained = trainer.compute_loss(model, batch)
    policy = completion_logps(model, batch)
    with model.disable_adapter():
        ratios = policy - completion_logps(model, batch)
    chosen, rejected = ratios.chunk(2)
    assert (chosen - rejected).abs().min() > 0.01
    lengths = torch.stack(batch["completion_mask"].sum(dim=1).chunk(2), dim=1)
    assert (lengths[:, 0] != lengths[:, 1]).any()
    workers = settings(DEMO_CHECKPOINT, loss="lp", beta=0.2, length_penalty=0.03)
    expected = lp(Scores(chosen, rejected, lengths), workers).mean()
    torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)


def completion_logps(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities of the completions of TRL's padded batch, float32 ``[2 * pairs]``."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logps = logits[:, :-1].log_softmax(dim=-1).gather(2, batch["input_ids"][:, 1:, None]).squeeze(2)
    return (logps * batch["completion_mask"][:, 1:]).sum(dim=1)


def test_a_grade_is_the_mean_over_the_models_own_probabilities(tmp_path: Path) -> None:
    given = Settings(model="", prompts=tmp_path, dtype="float32")
    answers = ["Kurz nach drei.", "Das weiß ich nicht, frag doch jemand anderen, der eine Uhr hat."]
    prompt = Prompt(language="de", prompt="Wie spät ist es?")
    grades = Policy(str(DEMO_CHECKPOINT), given).grade(prompt, answers)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    model: Any = AutoModelForCausalLM.from_pretrained(DEMO_CHECKPOINT, dtype=torch.float32)
    for grade, answer in zip(grades, answers, strict=True):
        content = GRADING.format(prompt=prompt.prompt, answer=answer)
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        with torch.no_grad():
            logits = model(ids).logits[0, -1]
        probabilities = logits[[tokenizer.convert_tokens_to_ids(str(value)) for value in range(1, 6)]].softmax(dim=0)
        assert grade == pytest.approx(sum(value * float(p) for value, p in enumerate(probabilities, 1)), abs=1e-4)


def test_a_step_that_is_cut_short_leaves_nothing_under_its_name_and_is_done_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "made.json", tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        once(path, list[int], interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_half(folder)
    assert not path.exists()
    assert not folder.exists()
    with whole(folder) as partial:
        partial.mkdir()
        (partial / "second").touch()
    assert [file.name for file in folder.iterdir()] == ["second"]
    assert once(path, list[int], lambda: [1, 2]) == [1, 2]
    assert once(path, list[int], interrupted) == [1, 2]


def interrupted() -> Any:
    raise KeyboardInterrupt


def save_half(folder: Path) -> None:
    with whole(folder) as partial:
        partial.mkdir()
        (partial / "first").touch()
        interrupted()


def test_the_best_answer_is_paired_with_the_worst_without_ties_and_answers_that_were_cut_off() -> None:
    def judged(*answers: tuple[str, float, bool]) -> Answered:
        made = [Answer(text=text, score=score, finished=finished) for text, score, finished in answers]
        return Answered(language="de", prompt="?", answers=made)

    pairs = best_against_worst(
        [
            judged(("good", 0.9, True), ("middling", 0.5, True), ("bad", 0.1, True), ("cut off", 1.0, False)),
            judged(("one", 0.50, True), ("other", 0.55, True)),
            judged(("only", 0.9, True), ("cut off", 0.1, False)),
            judged(("cut off", 0.1, False), ("also", 0.9, False)),
        ],
        min_gap=0.1,
    )
    assert [(pair.chosen[0].content, pair.rejected[0].content) for pair in pairs] == [("good", "bad")]
