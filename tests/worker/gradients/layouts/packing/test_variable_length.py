"""Packed rows in one call of attention for sequences of various lengths. There is no kernel for it on a CPU: PyTorch's
own attention of each sequence, with the mask that the kernel is documented to have, stands in."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.packing import variable_length
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from support.architectures import WINDOW, save_random_model
from support.autograd import pair_gradient
from support.models import DEVICE, checkpoint, engine, settings
from support.properties import assert_rows_match
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_that_flash_attention_has_no_kernel_for_attends_to_each_segment_by_itself(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU is one that PyTorch only thinks of."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    variable_length._capability.cache_clear()
    with FakeTensorMode():
        vectors = torch.empty(1, 4, 8, 16, dtype=torch.bfloat16, device="cuda")
    assert variable_length.is_supported(vectors, vectors, vectors, True, None, {}) is expected
    variable_length._capability.cache_clear()


LENGTHS = ("query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k")
EARLY = {"2.10": (*LENGTHS, "is_causal", "return_aux"), "2.11": (*LENGTHS, "return_aux", "scale", "window_size")}
"""What the kernel of an earlier PyTorch takes. These tests run under whichever one a machine has."""


def taking(names: Sequence[str]) -> Callable[..., Any]:
    """A kernel of this signature."""
    found: Callable[..., Any] = eval(f"lambda {', '.join(names)}: None")  # noqa: S307 # nothing else makes one
    return found


@pytest.mark.skipif(torch.__version__ < "2.12", reason="the kernel of this PyTorch takes too little")  # as TorchVersion
def test_the_kernel_of_pytorch_is_taken() -> None:
    assert variable_length.varlen_attn is not None


@pytest.mark.parametrize("version", sorted(EARLY))
def test_a_kernel_that_takes_too_little_is_left_alone_and_rows_are_packed_without_it(
    version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A call would fail, and with it the layout that costs least."""
    present = taking([*EARLY["2.11"], "enable_gqa"])
    assert variable_length.that_takes_options(present) is present
    monkeypatch.setattr(variable_length, "DEVICES", (torch.device(DEVICE).type,))
    monkeypatch.setattr(variable_length, "DTYPES", (torch.float32,))
    monkeypatch.setattr(variable_length, "varlen_attn", variable_length.that_takes_options(taking(EARLY[version])))
    assert engine(save_random_model(tmp_path, "llama")).layouts == (PACKED_ROW, TWO_ROWS)


class Kernel:
    """Counts its calls, and the windows that it was asked for."""

    def __init__(self) -> None:
        self.windows: list[int] = []

    def __call__(
        self,
        query: Tensor,  # [queries, heads, d]
        key: Tensor,  # [keys, key heads, d]
        value: Tensor,
        ends_of_queries: Tensor,
        ends_of_keys: Tensor,
        most_queries: int,
        most_keys: int,
        *,
        scale: float | None,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> Tensor:
        self.windows.append(window_size[0])
        assert ends_of_queries.dtype == ends_of_keys.dtype == torch.int32
        ends = [pairwise(ends.tolist()) for ends in (ends_of_queries, ends_of_keys)]
        found = []
        for of_queries, of_keys in zip(*ends, strict=True):
            q = query[slice(*of_queries)]
            k, v = (vectors[slice(*of_keys)] for vectors in (key, value))
            assert len(q) <= most_queries
            assert len(k) <= most_keys
            # The last query is at the last key.
            keys, queries = (torch.arange(len(vectors), device=query.device) for vectors in (k, q))
            ahead = keys - queries[:, None] - (len(k) - len(q))
            is_visible = ahead <= window_size[1]
            if window_size[0] >= 0:
                is_visible &= ahead >= -window_size[0]
            q, k, v = (vectors.transpose(0, 1) for vectors in (q, k, v))
            attended = F.scaled_dot_product_attention(q, k, v, is_visible, scale=scale, enable_gqa=enable_gqa)
            found.append(attended.transpose(0, 1))
        return torch.cat(found)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(variable_length, "DEVICES", (torch.device(DEVICE).type,))
    monkeypatch.setattr(variable_length, "DTYPES", (torch.float32,))
    stand_in = Kernel()
    monkeypatch.setattr(variable_length, "varlen_attn", stand_in)
    return stand_in


def ids(count: int, seed: int) -> list[int]:
    drawn: list[int] = np.random.default_rng(seed).integers(5, 4000, count).tolist()
    return drawn


PAIRS = [
    EncodedPair(ids(2 * WINDOW + 4, 0), ids(9, 1), ids(14, 2), truncated=False),
    EncodedPair(ids(14, 8), [7, 8, 9], [7, 8], truncated=False),  # one completion is the beginning of the other
    EncodedPair(ids(30, 3), [7, 8, 9, 10], [7, 8, *ids(12, 4)], truncated=False),
]

LAYERS: dict[str, set[int]] = {
    "llama": {-1},
    "gpt2": {-1},
    "mistral": {WINDOW - 1},
    "gemma3_text": {-1, WINDOW - 1},
    "deepseek_v3": {-1},  # values that are smaller than keys
    "gemma2": set(),  # caps its scores
    "gpt_oss": set(),  # has sinks
}
"""The windows of architectures that the kernel computes, without a query's own token; -1 for all before."""


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_gradients_in_one_call_a_layer_equal_autograd(name: str, kernel: Kernel, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model, projection="exact"), [PACKED_ROW, TWO_ROWS])
    assert PACKED_ROW in engine.layouts
    truth = np.stack([pair_gradient(loaded, pair, list(engine.modules)) for pair in PAIRS])
    kernel.windows.clear()
    assert_rows_match(engine.compute(PAIRS).values, truth, 1e-5)
    assert set(kernel.windows) == LAYERS[name]
    assert len(kernel.windows) in (0, 2)  # layers, whatever the number of pairs


def test_a_chunk_is_no_window(kernel: Kernel, tmp_path: Path) -> None:
    """Llama 4 attends to chunks in some layers: as many tokens, and others."""
    model = save_random_model(tmp_path, "llama4_text", attention_chunk_size=WINDOW)
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model, projection="exact"), [PACKED_ROW, TWO_ROWS])
    truth = np.stack([pair_gradient(loaded, pair, list(engine.modules)) for pair in PAIRS])
    kernel.windows.clear()
    assert_rows_match(engine.compute(PAIRS).values, truth, 1e-5)
    assert kernel.windows == []


@pytest.mark.parametrize(
    "options", [{"softcap": 50.0}, {"s_aux": 1}, {"dropout": 0.1}, {"position_bias": 1}, {"sliding_window": None}]
)
def test_what_the_kernel_does_not_know_is_left_to_the_models_own_attention(
    options: dict[str, Any], kernel: Kernel
) -> None:
    query, key, value = (torch.zeros(1, heads, 6, 8, device=DEVICE) for heads in (4, 2, 2))
    plain = {"sliding_window": 8, "dropout": 0.0, "softcap": None}
    assert variable_length.is_supported(query, key, value, False, 8, plain)
    assert not variable_length.is_supported(query, key, value, False, 8, plain | options)
    assert not variable_length.is_supported(query.double(), key.double(), value.double(), True, None, {})
    large = torch.zeros(1, 2, 6, 264, device=DEVICE)
    assert not variable_length.is_supported(large, large, large, True, None, {})
    assert not kernel.windows
