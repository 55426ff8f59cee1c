"""The compression: unbiased, true to its equation, and the same everywhere."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.gradients.projection import LinearShape, Projection, block_signs, orthonormal
from scipy.stats import spearmanr
from support.models import DEMO_CHECKPOINT, SHARED_CHECKPOINT, SHARED_PAIRS, engine
from support.pairs import demo_samples, encoded, file_rows
from support.scoring import conflict_scores

SHAPES = {
    "a": LinearShape(d_in=24, d_out=40),
    "b": LinearShape(d_in=40, d_out=12),
    "experts": LinearShape(d_in=20, d_out=24, experts=3),
}


def compress(kind: str, gradients: dict[str, np.ndarray], seed: int, rank: int = 8, dim: int = 256) -> np.ndarray:
    """The compressed form of whole gradients G, each ``[pairs, d_out, d_in]`` or ``[pairs, experts, d_out, d_in]``."""
    projection = Projection(kind, SHAPES, rank, dim, seed, torch.device("cpu"), torch.float32)  # type: ignore[arg-type]
    pairs = len(next(iter(gradients.values())))
    target = torch.zeros(pairs, projection.dim)
    for name, whole in gradients.items():
        projection[name].compress(target, torch.from_numpy(whole))
    return target.cpu().numpy()


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    sizes = {n: (2, *([s.experts] if s.experts else []), s.d_out, s.d_in) for n, s in SHAPES.items()}
    return {name: draw.standard_normal(size).astype(np.float32) for name, size in sizes.items()}


def inner_product(gradients: dict[str, np.ndarray]) -> float:
    return float(sum((g[0].astype(np.float64) * g[1]).sum() for g in gradients.values()))


@pytest.mark.parametrize("kind", ["kronecker", "flora"])
def test_inner_products_are_unbiased_over_seeds(kind: str, whole: dict[str, np.ndarray]) -> None:
    products = []
    for seed in range(400):
        first, second = compress(kind, whole, seed)
        products.append(float(first @ second))
    error = np.std(products) / np.sqrt(len(products))
    assert abs(np.mean(products) - inner_product(whole)) < 4 * error
    # The test can tell: a scale that is wrong by a tenth would be seen in the norms.
    norms = [float(np.square(compress(kind, whole, seed)[0]).sum()) for seed in range(200)]
    truth = sum(float(np.square(g[0]).sum()) for g in whole.values())
    assert np.mean(norms) == pytest.approx(truth, rel=0.05)


def test_gradients_of_different_experts_have_nothing_in_common_in_the_mean() -> None:
    """The same matrix in two experts, and the same in one: the sketch tells them apart as well as it would any two."""
    matrix = np.random.default_rng(0).standard_normal((24, 20)).astype(np.float32)
    gradients = np.zeros((3, 3, 24, 20), dtype=np.float32)
    gradients[0, 0] = gradients[1, 1] = gradients[2, 0] = matrix
    rows = [compress("kronecker", {"experts": gradients}, seed, dim=64) for seed in range(200)]
    length = float(np.square(matrix).sum())
    apart = np.array([row[0] @ row[1] for row in rows]) / length
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(len(rows))
    assert apart.std() < 4 / np.sqrt(64)
    assert np.mean([row[0] @ row[2] for row in rows]) == pytest.approx(length, rel=0.1)


@pytest.mark.parametrize("kind", ["kronecker", "flora", "exact"])
def test_products_over_routed_tokens_are_those_of_each_expert_merged(kind: str) -> None:
    """Σ_t δ_t a_tᵀ by expert, compressed; and both sides projected, kept apart and multiplied once."""
    shapes = {"experts": SHAPES["experts"]}
    projection = Projection(kind, shapes, 8, 256, 0, torch.device("cpu"), torch.float32)["experts"]  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(0)
    deltas, activations = torch.randn(30, 24, generator=draw), torch.randn(30, 20, generator=draw)
    experts = torch.randint(3, (30,), generator=draw)
    whole = torch.stack([deltas[experts == e].T @ activations[experts == e] for e in range(3)])
    expected, found = torch.zeros(2, 1, 256 if kind != "exact" else whole.numel())
    projection.compress(expected, whole[None])
    assert projection.separation is not None
    out, into = projection.project_out(deltas), projection.project_in(activations)
    out, into = projection.separation.apart(out, into, experts)
    projection.add(found, (out.T @ into)[None])
    assert torch.allclose(found, expected, atol=1e-4)


def test_exact_keeps_every_entry(whole: dict[str, np.ndarray]) -> None:
    rows = compress("exact", whole, seed=0)
    assert np.allclose(rows, np.concatenate([whole[n].reshape(2, -1) for n in SHAPES], axis=1), atol=1e-6)


@pytest.mark.parametrize(("dim", "rank"), [(64, 16), (192, 64), (96, 40), (50, 4), (17, 16)])
def test_bases_of_blocks_have_rows_of_one_length_and_orthogonal_columns(dim: int, rank: int) -> None:
    block = block_signs(0, "m", "in", dim, rank).astype(np.float64)
    rows, columns = block.shape
    assert dim % rows == 0
    assert dim // rows * columns == rank
    assert set(np.unique(block)) == {-1.0, 1.0}
    if rows & (rows - 1) == 0:  # a whole Hadamard matrix
        assert np.array_equal(block.T @ block, rows * np.eye(columns))


def test_sides_that_the_rank_does_not_cut_keep_inner_products_as_they_are() -> None:
    """The layers of a small adapter: identity on both sides, and with a large D nothing collides."""
    shapes = {"m": LinearShape(d_in=16, d_out=128)}
    projection = Projection("kronecker", shapes, 128, 16 * 128, 0, torch.device("cpu"), torch.float32)
    gradients = np.random.default_rng(0).standard_normal((2, 128, 16)).astype(np.float32)
    target = torch.zeros(2, projection.dim)
    projection["m"].compress(target, torch.from_numpy(gradients))
    assert float(target[0] @ target[1]) == pytest.approx(float((gradients[0] * gradients[1]).sum()), rel=1e-4)
    assert float(target[0] @ target[0]) == pytest.approx(float(np.square(gradients[0]).sum()), rel=1e-5)


def test_dense_bases_are_orthonormal_up_to_their_scale() -> None:
    basis = orthonormal(0, "m", "in", 200, 16).astype(np.float64)
    assert np.allclose(basis.T @ basis, np.eye(16) * 200 / 16, atol=1e-4)


def test_every_process_draws_the_same_projection() -> None:
    code = (
        "import torch; from congrad_worker.gradients.projection import LinearShape, Projection;"
        "p = Projection('kronecker', {'layers.0': LinearShape(50, 24)}, 4, 100, 7, torch.device('cpu'), torch.float32);"
        "z = torch.zeros(1, 100); p['layers.0'].compress(z, torch.arange(1200.0).view(1, 24, 50)); print(z.tolist())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": seed, "PATH": ""}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    # Pinned: workers of different releases share directions.
    assert block_signs(7, "layers.0", "out", 48, 12)[:3].tolist() == PINNED


PINNED = [[1, 1, 1], [-1, 1, -1], [-1, 1, 1]]


def agreement(model: Path, rows: list[dict[str, Any]]) -> float:
    """Spearman's correlation of the scores under the default compression with those without any."""
    pairs, languages = encoded(rows, model), [row["language"] for row in rows]
    exact = conflict_scores(engine(model, projection="exact"), pairs, languages)
    default = conflict_scores(engine(model), pairs, languages)
    return float(spearmanr(exact, default).statistic)


def test_default_scores_agree_with_exact_ones() -> None:
    assert agreement(DEMO_CHECKPOINT, demo_samples()) >= 0.99


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_PAIRS.exists(), reason="the real pairs are not on this machine")
@pytest.mark.timeout(1200)
def test_default_scores_agree_with_exact_ones_on_real_pairs() -> None:
    rows = file_rows(SHARED_PAIRS, each=30, languages=10)
    correlation = agreement(SHARED_CHECKPOINT, rows)
    print(f"Spearman of default and exact scores on {len(rows)} real pairs: {correlation:.4f}")
    assert correlation >= 0.98
