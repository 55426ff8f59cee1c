"""Gradients of log-probabilities, kept in files: the pairs' one by one, so that an interrupted run goes on.

Where the reference is the policy, the gradients of many losses are sums of the same few: of log π(chosen), of
log π(rejected), and of log π of the longer completion up to the shorter one's length. These are what is kept.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.verification import verify
from congrad_worker.settings import GradientSettings
from rich.progress import track

from benchmarks.pretrained.parts import PARTS, PartedEngine

BLOCK = 16
"""Sequences that are computed between two looks at the progress bar."""
SETTINGS = {"loss": "sft", "unit_gradients": False, "device": "cpu"}
"""Of the gradients that are kept: those of one completion's mean log-probability."""


@dataclass(frozen=True)
class Parted:
    """Gradients of the summed log-probability of n completions.

    ``units`` is float16 ``[n, parts, D]``, a row's norm 1 over all of its parts; ``norms`` is float32 ``[n]``.
    """

    units: np.ndarray
    norms: np.ndarray

    def gradients(self, parts: Sequence[int]) -> np.ndarray:
        """Of some parts together: float32 ``[n, D]``."""
        total = sum(self.units[:, part].astype(np.float32) for part in parts)
        return np.asarray(total * self.norms[:, None], np.float32)


def completions(pairs: Sequence[EncodedPair]) -> dict[str, list[EncodedPair]]:
    """The sequences whose gradients losses are made of, each as a pair without a rejected completion."""
    chosen = [replace(pair, rejected_ids=[]) for pair in pairs]
    rejected = [replace(pair, chosen_ids=pair.rejected_ids, rejected_ids=[]) for pair in pairs]
    longer = [max(both, key=lambda pair: len(pair.chosen_ids)) for both in zip(chosen, rejected, strict=True)]
    shared = [min(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs]
    cut = [replace(pair, chosen_ids=pair.chosen_ids[:n]) for pair, n in zip(longer, shared, strict=True)]
    return {"chosen": chosen, "rejected": rejected, "cut": cut}


def cached(folder: Path, model: Path, sequences: Sequence[EncodedPair], **options: object) -> Parted:
    """The gradients of some sequences, in their order, computed where the folder does not hold them."""
    settings = GradientSettings.model_validate({"model": str(model), **SETTINGS, **options})
    files = locate(settings)
    paths = [folder / files.fingerprint / f"{_hash(sequence)}.npz" for sequence in sequences]
    missing = {path: pair for path, pair in zip(paths, sequences, strict=True) if not path.exists()}
    if missing:
        engine: GradientEngine = PartedEngine(load(files, settings), settings)
        engine = engine.restricted(verify(engine).layouts)
        for block in track(_blocks(list(missing)), "gradients"):
            _compute(engine, block, [missing[path] for path in block])
    found = [np.load(path) for path in paths]
    return Parted(*(np.stack([file[name] for file in found]) for name in ("units", "norm")))


def _hash(pair: EncodedPair) -> str:
    return hashlib.sha256(f"{pair.prompt_ids} {pair.chosen_ids}".encode()).hexdigest()[:16]


def _compute(engine: GradientEngine, paths: Sequence[Path], block: Sequence[EncodedPair]) -> None:
    lengths = np.array([max(len(pair.chosen_ids), 1) for pair in block])
    values = engine.compute(block).values * -lengths[:, None]  # [n, parts * D], of sums and not of mean losses
    norms = np.linalg.norm(values, axis=1)
    units = (values / np.where(norms > 0, norms, 1)[:, None]).reshape(len(block), PARTS, -1).astype(np.float16)
    for path, unit, norm in zip(paths, units, norms, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, units=unit, norm=np.float32(norm))
        partial.rename(path)  # a file of that name is whole


def _blocks(paths: Sequence[Path]) -> list[Sequence[Path]]:
    return [paths[start : start + BLOCK] for start in range(0, len(paths), BLOCK)]
