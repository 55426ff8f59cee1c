"""Modules that wait for one another, as on a GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients import sums
from congrad_worker.gradients.engine import LAYOUTS
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.projection import Projection
from support.architectures import save_random_model
from support.models import engine
from support.properties import assert_rows_match

PAIRS = [EncodedPair([5, 6, 7, 8], [9, 10], [11], truncated=False), EncodedPair([4], [5, 6], [7], truncated=False)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("held", [0, 3000, 2**27], ids=["each at once", "some", "all"])
@pytest.mark.parametrize(
    ("name", "rank", "dim"),
    [("llama", 8, 100), ("qwen3_moe", 8, 64), pytest.param("llama", 8, 64, marks=pytest.mark.slow)],
)
def test_gradients_do_not_depend_on_how_many_modules_wait(
    layout: Layout, held: int, name: str, rank: int, dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many entries of a module's product as of a gradient, and with others."""
    one = engine(save_random_model(tmp_path, name), projection_rank=rank, projection_dim=dim)
    truth = one.batch_gradients(PAIRS, layout).cpu().numpy()
    calls: list[int] = []
    add = Projection.add

    def counted(self: Projection, *rest: Any) -> None:
        calls.append(len(rest[1]))
        add(self, *rest)

    monkeypatch.setattr(Projection, "add", counted)
    monkeypatch.setattr(sums, "WAITING_BYTES", {"cpu": held})
    assert_rows_match(one.batch_gradients(PAIRS, layout).cpu().numpy(), truth, 1e-6)
    assert sum(calls) == len(one.modules)
    assert (max(calls) == 1) == (held == 0)
    assert not np.array_equal(truth, np.zeros_like(truth))


def test_what_waits_is_let_go_where_a_batch_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = engine(save_random_model(tmp_path, "llama"))
    truth = one.batch_gradients(PAIRS, LAYOUTS[0])
    monkeypatch.setattr(sums, "WAITING_BYTES", {"cpu": 2**27})
    with monkeypatch.context() as failing:
        failing.setattr(Projection, "add", lambda *_: refuse())
        with pytest.raises(ValueError, match="no"):
            one.batch_gradients(PAIRS, LAYOUTS[0])
    torch.testing.assert_close(one.batch_gradients(PAIRS, LAYOUTS[0]), truth)


def refuse() -> None:
    raise ValueError("no")
