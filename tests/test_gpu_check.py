"""The check for a GPU, rehearsed on a CPU with the same steps in small; and the count of a GPU's operations."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import typer
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from rich.console import Console
from support.models import settings

from benchmarks import counted, gpu_check, operations, shapes
from benchmarks.counted import H100, Count
from benchmarks.operations import Lengths, Subject

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)  # where the machine is busy with other things
def test_every_part_of_the_check_runs_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu_check.py", "--rehearse", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    for name in ("llama3-8b", "llama3-8b with a LoRA", "gemma2-2b", "gemma2-2b with a LoRA"):
        assert found[name]["refused"] == {}
        eight = f"a packed row, {gpu_check.EIGHT_BITS}"
        assert set(found[name]["layouts"]) == {"a packed row", "a shared row", "two rows", eight}
        assert all(result["pairs_per_s"] > 0 for result in found[name]["layouts"].values())
        assert min(found[name]["agreement"].values()) > 0.98
        assert len(found[name]["trace"]["longest_ms"]) == 10
    assert found["half precision"]["Spearman float32"] > 0.999
    assert found["half precision"][f"Spearman {gpu_check.EIGHT_BITS}"] > 0.9
    assert "passed" in found["tests"]["said"]
    assert "| llama3-8b | plain DPO step |" in (tmp_path / "gpu_check.md").read_text()


def test_what_fails_takes_nothing_of_its_shape_along_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No right to use CUPTI leaves a profiler without kernels."""

    def fails(*_: object) -> None:
        raise RuntimeError("no such kernel")

    class Blind(torch.profiler.profile):
        def events(self) -> list[object]:
            return []

    monkeypatch.setattr(gpu_check, "_agreement", fails)
    monkeypatch.setattr(gpu_check, "profile", Blind)
    plan = replace(gpu_check.REHEARSAL, shapes=("llama3-8b",), pairs=2, max_length=32)
    check = gpu_check.Check(plan, Console(quiet=True), partial(gpu_check.write, tmp_path))
    check._part("llama3-8b", partial(check._shape, "llama3-8b", False))
    found = json.loads((tmp_path / "gpu_check.json").read_text())["llama3-8b"]
    assert all(result["pairs_per_s"] > 0 for result in found["layouts"].values())
    assert found[gpu_check.PLAIN]["pairs_per_s"] > 0
    assert found["agreement"] == {"error": "RuntimeError: no such kernel"}
    assert "CUPTI" in found["trace"]["error"]
    assert len(gpu_check.errors(check.found)) == 2


def test_tests_on_a_gpu_compute_with_all_bits_of_float32() -> None:
    """`auto` rounds products of float32 to TF32 there, and tests compare at 1e-6."""
    assert settings(Path("model")).dtype == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_check_says_in_a_line_that_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no GPU to check: CONGRAD_DEVICE=cuda: .*--rehearse"):
        gpu_check.main(tmp_path)


def test_a_count_goes_into_a_folder_that_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "rows_of", lambda *_: [])
    operations.main(output=tmp_path / "a" / "new")
    assert sorted(path.name for path in (tmp_path / "a" / "new").iterdir()) == ["operations.json", "operations.md"]


def test_a_shape_that_is_none_is_told_before_anything_is_counted(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="none of small, llama3-8b"):
        operations.main("none", tmp_path)


def tiny(vocabulary: int) -> object:
    config = shapes.llama32_1b(vocabulary)
    for name, size in {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "vocab_size": 512}.items():
        setattr(config, name, size)
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 16
    return config


def test_a_packed_row_has_as_many_operations_for_many_pairs_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.SHAPES, "tiny", tiny)
    few, many = (Lengths("", pairs, 8, 4) for pairs in (2, 16))
    subject = Subject("tiny")
    packed = [subject.count(lengths, PACKED_ROW, H100) for lengths in (few, many)]
    shared = [subject.count(lengths, SHARED_ROW, H100) for lengths in (few, many)]
    assert packed[1].kernels == packed[0].kernels
    # Eight times as many pairs: what is of the model as a whole, and not of each pair, stays as it is.
    assert shared[1].kernels > 3.5 * shared[0].kernels
    assert packed[1].kernels < shared[1].kernels / 4


def test_rotary_positions_and_gates_are_a_kernel_for_each_pass_where_liger_kernel_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(shapes.SHAPES, "tiny", tiny)
    lengths = Lengths("", 2, 8, 4)
    plain, fused = (Subject("tiny", has_liger=has).count(lengths, PACKED_ROW, H100) for has in (False, True))
    rotary, gate = 2 * (3 + 3) - 2, (2 + 3) - 2
    assert plain.kernels - fused.kernels == 6 * (rotary + gate)
    assert fused.device_s < plain.device_s


def test_products_are_priced_by_their_flops() -> None:
    counting = counted.Operations(H100, area=0)
    a = torch.empty(4096, 4096, device="meta", dtype=torch.bfloat16)
    with counting:
        (a @ a).t()
    assert counting.count.kernels == 1
    assert counting.count.linear_flops == 2 * 4096**3
    assert counting.count.device_s == pytest.approx(2 * 4096**3 / H100.matrix_rate)
    assert isinstance(counting.count, Count)
