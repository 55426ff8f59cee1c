"""The examples, run as a user runs them, against a live service."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from congrad import Client
from congrad.local.stack import Stack
from safetensors.torch import load_file
from support.models import DEMO_CHECKPOINT

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_trl_trains_on_the_kept_pairs_of_a_file(stack: Stack, tmp_path: Path) -> None:
    """The defaults: the pairs and the checkpoint that the package ships."""
    arguments = ["--url", stack.url, "--direction", "trl", "--output", str(tmp_path / "trained"), "--max-steps", "3"]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "trl_dpo.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\S+) +kept +(\d+) +dropped +(\d+)$", done.stdout, re.MULTILINE)
    summary = re.search(r"trained on (\d+) of (\d+) pairs, mean loss ([0-9.]+)", done.stdout)
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


def test_fine_tuning_trains_on_the_kept_completions(sft_stack: Stack, tmp_path: Path) -> None:
    """The defaults: the chosen answers of the pairs and the checkpoint that the package ships."""
    arguments = [
        "--url",
        sft_stack.url,
        "--direction",
        "sft",
        "--output",
        str(tmp_path / "trained"),
        "--max-steps",
        "3",
    ]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "sft_filter.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    summary = re.search(r"trained on (\d+) of (\d+) completions, mean loss ([0-9.]+)", done.stdout)
    assert summary is not None
    with Client(sft_stack.url) as client:
        samples = [language.samples for language in client.directions.get("sft").languages.values()]
    assert sum(samples) == int(summary[2]) == 144
    assert int(summary[1]) == sum(round(0.8 * count) for count in samples)
    assert 0 < float(summary[3]) < 10  # nats a token
    before, after = (load_file(folder / "model.safetensors") for folder in (DEMO_CHECKPOINT, tmp_path / "trained"))
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)
