"""`benchmarks/real_training.py` from pairs to page, on the checkpoint and the pairs that the package ships."""

import json
from pathlib import Path

import pytest
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

from benchmarks import real_training
from benchmarks.pretrained import arms
from benchmarks.pretrained.regimes import THREE


@pytest.mark.slow
def test_arms_are_trained_once_and_make_a_page(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    samples = demo_samples("de", "en", "es", "fr", "it", "pl", "pt")
    data.write_text("\n".join(map(json.dumps, samples)), encoding="utf-8")

    def train() -> dict[Path, int]:
        real_training.main(
            DEMO_CHECKPOINT, data, tmp_path / "cache", "de,en,es,fr", "it,pl,pt", each=6, seeds=3, steps=2, batch=2,
            looks=1, swapped=[THREE.name], arm=[arms.ORACLE], output=tmp_path,
        )  # fmt: skip
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "runs").iterdir()}

    assert len(runs := train()) == 9  # all, agreement and the oracle, in three draws
    assert train() == runs
    (page,) = tmp_path.glob("real_training_*.json")
    found = json.loads(page.read_text(encoding="utf-8"))["found"][THREE.name]
    assert set(found) == {arms.ALL, arms.MAIN, arms.ORACLE}
    for run in (run for of in found.values() for run in of):
        assert run["step"] == 2
        assert 0 <= run["seen"] <= 1
        assert run["kept"] >= 1
    assert all(run["wrong_kept"] == 0 for run in found[arms.ORACLE])
    assert all(0 < run["wrong_kept"] < 1 for run in found[arms.ALL])
