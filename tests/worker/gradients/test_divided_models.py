"""A model on two devices has the gradients that it has on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.models import engine, save_lora
from support.pairs import demo_samples, encoded

TESTS = Path(__file__).parents[2]


@pytest.mark.slow  # the devices are made up, and most operations go through Python
def test_a_model_that_is_divided_between_two_devices_has_the_gradients_of_the_whole(
    small_llama: Path, tmp_path: Path
) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    done = subprocess.run(
        [sys.executable, "-m", "support.divided_model", str(small_llama), str(adapter)],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"plain", "checkpointing", "flora", "reference", "adapter"}
    for name, (difference, largest, is_shared) in found.items():
        assert difference < 1e-5 * largest, name
        assert is_shared, name


def test_all_devices_are_the_cpu_where_there_is_no_gpu(small_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert engine(small_llama, device="all").checkpoint.device == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_all_gpus_share_a_model(small_llama: Path) -> None:
    on_cpu, on_all = engine(small_llama), engine(small_llama, device="all", dtype="float32")
    assert len({parameter.device for parameter in on_all.checkpoint.model.parameters()}) > 1
    pairs = encoded(demo_samples("de", "fr", each=3), small_llama)
    np.testing.assert_allclose(on_all.compute(pairs).values, on_cpu.compute(pairs).values, rtol=1e-3, atol=1e-3)
