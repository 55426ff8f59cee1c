"""The examples, against a live service. That they run as a user runs them is seen where the docs' commands are."""

import math
import re
import runpy
import sys
from pathlib import Path

import datasets
import pytest
import torch
from congrad import Client
from congrad.local.stack import Stack
from safetensors.torch import load_file
from support.models import DEMO_CHECKPOINT

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.filterwarnings(
    "ignore:`.*gradient_checkpointing` is deprecated:FutureWarning",  # TRL 1.16 asks transformers 5 for it
    "ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning",  # TRL's default
)


class Example:
    """Runs a script in this process, which has long imported what it needs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, name: str, *arguments: str) -> str:
        """What it prints."""
        self._monkeypatch.chdir(self._folder)
        self._monkeypatch.setattr(sys, "argv", [name, *arguments])
        self._monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", self._folder / "cache")
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return self._capsys.readouterr().out


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Example:
    return Example(tmp_path, monkeypatch, capsys)


def test_trl_trains_on_the_kept_pairs_of_a_file(stack: Stack, example: Example, tmp_path: Path) -> None:
    """The defaults: the pairs and the checkpoint that the package ships."""
    said = example.run(
        "trl_dpo.py",
        *("--url", stack.url, "--direction", "trl", "--output", str(tmp_path / "trained"), "--max-steps", "3"),
    )
    rows = re.findall(r"^(\S+) +kept +(\d+) +dropped +(\d+)$", said, re.MULTILINE)
    summary = re.search(r"trained on (\d+) of (\d+) pairs, mean loss ([0-9.]+)", said)
    assert summary is not None
    with Client(stack.url) as client:
        languages = client.directions.get("trl").languages
    assert {language for language, _, _ in rows} == languages.keys()
    assert sum(int(kept) for _, kept, _ in rows) == int(summary[1])
    assert 0 < int(summary[1]) < int(summary[2]) == 144
    # A policy that is still its own reference has a loss of ln 2, and three small steps do not lead far from it.
    assert abs(float(summary[3]) - math.log(2)) < 0.05
    before, after = (load_file(folder / "model.safetensors") for folder in (DEMO_CHECKPOINT, tmp_path / "trained"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)


@pytest.mark.slow  # of the page about it: tests/test_docs.py
def test_fine_tuning_trains_on_the_kept_completions(sft_stack: Stack, example: Example, tmp_path: Path) -> None:
    """The defaults: the chosen answers of the pairs and the checkpoint that the package ships."""
    said = example.run(
        "sft_filter.py",
        *("--url", sft_stack.url, "--direction", "sft", "--output", str(tmp_path / "trained"), "--max-steps", "3"),
    )
    summary = re.search(r"trained on (\d+) of (\d+) completions, mean loss ([0-9.]+)", said)
    assert summary is not None
    with Client(sft_stack.url) as client:
        samples = [language.samples for language in client.directions.get("sft").languages.values()]
    assert sum(samples) == int(summary[2]) == 144
    assert int(summary[1]) == sum(round(0.8 * count) for count in samples)
    assert 0 < float(summary[3]) < 10  # nats a token
    before, after = (load_file(folder / "model.safetensors") for folder in (DEMO_CHECKPOINT, tmp_path / "trained"))
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)
