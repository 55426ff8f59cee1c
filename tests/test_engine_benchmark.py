"""What the benchmark of the engine compares before it times anything."""

from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import LlamaConfig

from benchmarks.pairs import make_pairs, read_encoded
from benchmarks.shapes import SHAPES


def test_every_arm_has_the_gradients_of_autograd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "KINETO_LOG_LEVEL"):
        monkeypatch.setenv(name, "1")  # the module sets them, for a process of its own
    from benchmarks.engine import DEMO, Bench

    def tiny(vocabulary: int) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )

    monkeypatch.setitem(SHAPES, "small", tiny)
    bench = Bench("small", DEMO / "checkpoint", torch.device("cpu"), 512, Console(quiet=True))
    bench.add_engines()
    pairs = make_pairs(read_encoded(DEMO / "pairs.jsonl", bench.checkpoint.tokenizer), 4, 0.5, 96)
    errors = bench.errors(pairs, tmp_path)
    assert {key for key, found in errors.items() if "exact" in found} == {"one_by_one", *bench.engines}
    assert max(error for found in errors.values() for error in found.values()) <= 1e-5
