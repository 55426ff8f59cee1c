"""The controlled world of `benchmarks/effect.py`: planted truth, arms and statistics, and one small run of it all."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from scipy.stats import ttest_1samp

from benchmarks.planted import arms
from benchmarks.planted.statistics import auroc, average_precision, gap_closed, paired_difference
from benchmarks.planted.tables import equal_margins, tables, targets
from benchmarks.planted.training import Recipe
from benchmarks.planted.trial import Budget, run
from benchmarks.planted.world import Author, Kind, PlantedPair, World

WITHOUT_TYPOS = World(typos=0, style_differs=0.5)


def counts_up(answer: str) -> bool:
    """By the two symbols in the middle: the first may repeat the prompt's, and the last may return to it."""
    symbols = [int(word.rpartition("symbol")[2]) for word in answer.split() if "symbol" in word]
    return (symbols[1] - symbols[0]) % 8 == 1


@pytest.fixture(scope="module")
def pairs() -> list[PlantedPair]:
    return Author(WITHOUT_TYPOS, 3).training_pairs()


def test_chosen_counts_up_in_clean_pairs_and_rejected_in_all_others(pairs: list[PlantedPair]) -> None:
    for pair in pairs:
        assert counts_up(str(pair.sample.chosen)) is not pair.conflicts
        assert counts_up(str(pair.sample.rejected)) is pair.conflicts


def test_answers_of_a_pair_have_the_same_length(pairs: list[PlantedPair]) -> None:
    for pair in pairs:
        assert len(str(pair.sample.chosen).split()) == len(str(pair.sample.rejected).split())


def test_labels_are_wrong_as_often_and_where_the_world_says(pairs: list[PlantedPair]) -> None:
    by_language = {tag: Counter[Kind]() for tag in WITHOUT_TYPOS.languages[: WITHOUT_TYPOS.seen]}
    for pair in pairs:
        by_language[str(pair.sample.language)][pair.kind] += 1
    for number, kinds in enumerate(by_language.values()):
        assert kinds.total() == WITHOUT_TYPOS.pairs
        assert (kinds[Kind.RIVAL] > 0) is (number in WITHOUT_TYPOS.rival_languages)
        assert (kinds[Kind.COIN] > 0) is (number in WITHOUT_TYPOS.noisy_languages)
    total = sum(by_language.values(), Counter[Kind]())
    # 20 % of 4 languages, 20 % of 70 % of 2, 20 % of 60 % of 2: 132 of 800, within four standard deviations.
    assert 92 <= total[Kind.SWAPPED] <= 172


def test_words_of_a_pair_are_all_of_its_language(pairs: list[PlantedPair]) -> None:
    for sample in (pair.sample for pair in pairs):
        words = f"{sample.prompt}{sample.chosen}{sample.rejected}".split()
        assert {word.partition(":")[0] for word in words} == {sample.language}


def test_answers_held_out_differ_in_direction_alone() -> None:
    world = World(held_out=20, announced=False)
    for pair in Author(world, 0).held_out_pairs():
        start = int(str(pair.sample.prompt).split()[2].rpartition("symbol")[2])
        chosen, rejected = (
            [int(word.rpartition("symbol")[2]) for word in str(answer).split() if "symbol" in word]
            for answer in (pair.sample.chosen, pair.sample.rejected)
        )
        assert [(symbol - start) % 8 for symbol in chosen] == [(start - symbol) % 8 for symbol in rejected]


def test_a_seed_fixes_the_pairs() -> None:
    first, again, other = (Author(World(pairs=3), seed).training_pairs() for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_auroc_counts_couples_in_the_right_order() -> None:
    draw = np.random.default_rng(0)
    scores, truth = draw.integers(0, 5, 40).astype(float), draw.random(40) < 0.4
    couples = [(a > b) + (a == b) / 2 for a, b in product(scores[truth], scores[~truth])]
    assert auroc(scores, truth) == pytest.approx(np.mean(couples))


def test_average_precision_is_that_of_worked_examples() -> None:
    truth = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1.0, 1, 1, 1]), truth) == pytest.approx(0.5)


def test_differences_are_tested_seed_by_seed() -> None:
    first, second = [0.9, 0.8, 0.95, 0.7], [0.8, 0.75, 0.9, 0.5]
    truth = ttest_1samp(np.subtract(first, second), 0)
    found = paired_difference(first, second)
    assert found.p == pytest.approx(truth.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(truth.confidence_interval(0.95)))
    assert paired_difference(first, first).p is None


def test_the_gap_is_closed_by_as_much_as_the_means_say() -> None:
    found = gap_closed([0.8, 0.6], [0.9, 0.8], [1.0, 0.9])
    assert found.mean == pytest.approx((0.85 - 0.7) / (0.95 - 0.7))
    assert found.low <= found.mean <= found.high


@pytest.fixture(scope="module")
def evidence() -> arms.Evidence:
    """Gradients around one direction, a fifth of them turned round; lengths and log-probabilities at random."""
    draw = np.random.default_rng(1)
    conflicts = draw.random(60) < 0.2
    gradients = np.where(conflicts, -1, 1)[:, None] * np.ones(32) + draw.normal(size=(60, 32))
    pairs = [EncodedPair([1], [2] * n, [3] * n, truncated=False) for n in draw.integers(3, 30, 60)]
    samples = Samples.of(gradients.astype(np.float32), ["de", "fr", "ja"] * 20)
    return arms.Evidence(samples, pairs, draw.normal(size=(60, 2)) - 9, conflicts)


def test_arms_keep_as_many_as_the_threshold(evidence: arms.Evidence) -> None:
    kept = arms.selections(evidence, arms.scores(evidence), seed=0)
    number = kept[arms.THRESHOLD].sum()
    assert 0 < number < 60
    for name in set(kept) - {arms.ALL, arms.ORACLE, arms.FRACTION}:
        assert kept[name].sum() == number, name
    assert abs(kept[arms.FRACTION].sum() - number) <= 3  # rounded in each of three languages
    assert kept[arms.ALL].all()
    assert (kept[arms.ORACLE] == ~evidence.conflicts).all()


def test_baselines_keep_the_shortest_and_the_likeliest(evidence: arms.Evidence) -> None:
    kept = arms.selections(evidence, arms.scores(evidence), seed=0)
    lengths = np.array([len(pair.chosen_ids) for pair in evidence.pairs])
    margins = evidence.logps[:, 0] - evidence.logps[:, 1]
    losses = -evidence.logps[:, 0] / lengths
    assert lengths[kept[arms.LENGTH]].max() <= lengths[~kept[arms.LENGTH]].min()
    assert margins[kept[arms.MARGIN]].min() >= margins[~kept[arms.MARGIN]].max()
    assert losses[kept[arms.LOSS]].max() <= losses[~kept[arms.LOSS]].min()


def trial_with(accuracy: dict[str, float], seed: int, auroc: float = 0.95) -> dict[str, Any]:
    """What a trial gives, with these accuracies and a little noise."""
    noise = 0.001 * np.random.default_rng(seed).normal()
    figures = {"kept": 5, "conflicts_kept": 0.1, "margin_seen": 1.0, "margin_unseen": 1.0, "perplexity": 2.0}
    curve = [{"step": 10, "seen": 0.8, "unseen": 0.8, **figures}]
    return {
        "seed": seed,
        "conflicts": 0.3,
        "start": {"seen": 0.5, "unseen": 0.5, "margin_seen": 0.0, "margin_unseen": 0.0, "perplexity": 2.0},
        "detection": {arms.THRESHOLD: {"auroc": auroc + noise, "average_precision": 0.9}},
        "ablations": {},
        "dropped": {"clean": 0.1},
        "arms": {
            name: {"seen": value + noise * value, "unseen": value, "curve": curve, **figures}
            for name, value in accuracy.items()
        },
    }


ACCURACIES = {**dict.fromkeys((arms.ALL, *arms.CHEAP), 0.8), arms.THRESHOLD: 0.96, arms.ORACLE: 1.0}


@pytest.mark.parametrize(
    ("changed", "auroc", "missed"),
    [
        ({}, 0.95, []),
        ({}, 0.9, [0]),
        ({arms.THRESHOLD: 0.94}, 0.95, [1]),
        ({arms.LENGTH: 0.97}, 0.95, [2]),
        ({arms.ALL: 0.97, arms.ORACLE: 0.99}, 0.95, [1, 3]),
    ],
)
def test_targets_are_missed_where_the_figures_fall_short(
    changed: dict[str, float], auroc: float, missed: list[int]
) -> None:
    trials = [trial_with(ACCURACIES | changed, seed, auroc) for seed in range(4)]
    assert [i for i, target in enumerate(targets(trials)) if not target.met] == missed


def test_the_tax_is_read_off_where_an_arm_has_the_margin_of_all() -> None:
    trial = trial_with(ACCURACIES, 0)
    steps = [(10, 0.5, 2.1), (20, 2.5, 2.5)]
    trial["arms"][arms.THRESHOLD]["curve"] = [
        {"step": step, "seen": 0.9, "unseen": 0.9, "margin_seen": margin, "margin_unseen": 0.0, "perplexity": tax}
        for step, margin, tax in steps
    ]
    trial["arms"][arms.LENGTH]["curve"] = trial["arms"][arms.THRESHOLD]["curve"][:1]
    rows = {row[0]: row for row in equal_margins([trial, trial]).rows}
    # A margin of 1 is a quarter of the way from 0.5 to 2.5.
    assert rows[arms.THRESHOLD][1] == "12"
    assert rows[arms.THRESHOLD][8].startswith("2.200")
    assert arms.LENGTH not in rows


def test_every_row_of_a_table_has_a_cell_for_each_column() -> None:
    trials = [trial_with(ACCURACIES, seed) for seed in range(4)]
    for table in tables(trials):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    world = World(seen=3, unseen=1, pairs=40, rival_languages=(1,), noisy_languages=(2,), held_out=30, tax_texts=5)
    return run(
        world, 0, Budget(pretraining=150, preference=Recipe(steps=30), arms=(arms.ALL, arms.ORACLE), ablations=False)
    )


@pytest.mark.slow  # of a measurement, and of nothing that is served
@pytest.mark.timeout(200)
def test_the_oracle_learns_the_preference_better_than_all_pairs_do(result: dict[str, Any]) -> None:
    everything, oracle = (result["arms"][name] for name in (arms.ALL, arms.ORACLE))
    assert oracle["margin_seen"] > everything["margin_seen"] > 0
    assert oracle["conflicts_kept"] == 0 < everything["conflicts_kept"] == result["conflicts"]
    assert result["start"]["margin_seen"] == 0


@pytest.mark.slow  # likewise
def test_conflicts_are_found_better_than_by_chance_in_a_small_world(result: dict[str, Any]) -> None:
    assert result["detection"][arms.THRESHOLD]["auroc"] > 0.6
    assert result["dropped"][Kind.CLEAN] < result["dropped"][Kind.SWAPPED]
