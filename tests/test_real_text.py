"""Real pairs with swapped labels, as `benchmarks/real_text.py` has them: on the pairs that the package ships."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

from benchmarks.planted import arms, real_text, real_trial
from benchmarks.planted.real_text import Labelled, RealPairs, read
from benchmarks.planted.scoring import gradients

pytestmark = pytest.mark.slow  # of a measurement, and of nothing that is served

LANGUAGES = ("de", "en", "es", "fr")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> RealPairs:
    """Twelve pairs in each of four languages, the first three to train on."""
    rows = [row for row in demo_samples() if row["language"] in LANGUAGES]
    path = tmp_path_factory.mktemp("real") / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options: dict[str, dict[str, object]] = {**real_trial.OPTIONS, real_trial.DEFAULT: {"projection": "exact"}}
    return read(path, DEMO_CHECKPOINT, 3, options)


@pytest.fixture
def pairs(real: RealPairs) -> Labelled:
    return real.seen


def test_languages_are_trained_on_in_the_order_of_their_tags(real: RealPairs) -> None:
    assert set(real.seen.languages) == {"de", "en", "es"}
    assert set(real.unseen.languages) == {"fr"}
    assert not real.unseen.samples


def test_a_swapped_pair_has_the_gradient_that_the_engine_gives_it(pairs: Labelled) -> None:
    wrong = np.arange(len(pairs.texts)) % 3 == 0
    swapped = pairs.swapped(wrong)
    found = swapped.samples[real_trial.DEFAULT]
    truth = gradients(Path(DEMO_CHECKPOINT), swapped.texts, projection="exact")
    assert np.einsum("nd,nd->n", found.units, truth.units, dtype=np.float64) == pytest.approx(1, abs=1e-2)
    assert found.norms == pytest.approx(truth.norms, rel=1e-3)


def test_what_is_swapped_is_swapped_everywhere(pairs: Labelled) -> None:
    swapped = pairs.swapped(np.ones(len(pairs.texts), dtype=bool))
    assert swapped.length_ratios == pytest.approx(-pairs.length_ratios)
    assert (swapped.logps == pairs.logps[:, ::-1]).all()
    assert [text.chosen for text in swapped.texts] == [text.rejected for text in pairs.texts]


def test_a_fifth_of_each_language_is_planted_and_a_seed_fixes_which(pairs: Labelled) -> None:
    wrong = real_text.plant(pairs.languages, 0)
    for tag in np.unique(pairs.languages):
        of = pairs.languages == tag
        assert wrong[of].sum() == round(0.2 * of.sum())
    assert (real_text.plant(pairs.languages, 0) == wrong).all()
    assert (real_text.plant(pairs.languages, 1) != wrong).any()


def test_length_says_nothing_of_balanced_pairs_and_little_of_matched_ones(pairs: Labelled) -> None:
    balanced = pairs.of(real_text.balanced(pairs))
    for tag in np.unique(balanced.languages):
        ratios = balanced.length_ratios[balanced.languages == tag]
        assert (ratios > 0).sum() == (ratios < 0).sum()
    assert np.abs(pairs.of(real_text.matched(pairs)).length_ratios).max() <= real_text.MATCHED


def test_no_translation_of_what_is_held_out_is_trained_on(real: RealPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_text, "MATCHED", 9.0)
    parts = real_trial.split(real, 0)
    held = {*parts.held_seen.groups, *parts.held_unseen.groups}
    assert len(held) == 4  # of twelve
    assert not held & set(parts.trained.groups)
    assert set(parts.held_unseen.languages) == {"fr"}


def test_every_score_is_measured_on_the_same_swaps(pairs: Labelled) -> None:
    found = real_trial.detection(pairs, 0)
    assert found.pop("pairs") == len(pairs.texts)
    assert arms.THRESHOLD in found
    assert all(0 <= each["auroc"] <= 1 and 0 < each["average_precision"] <= 1 for each in found.values())
    wrong = real_text.plant(pairs.languages, 0)
    ratios = pairs.swapped(wrong).length_ratios
    couples = ratios[wrong][:, None] - ratios[~wrong]  # the shorter one is chosen where the label is wrong
    truth = np.mean((couples < 0) + (couples == 0) / 2)
    assert found[real_trial.LENGTH_RATIO]["auroc"] == pytest.approx(truth)
