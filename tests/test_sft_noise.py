"""The noise of `benchmarks/sft.py`: planted truth, and one small run."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from congrad.contract import wire

from benchmarks.planted import sft_trial
from benchmarks.planted.sft import NOISE, Fault, PlantedRow, planted_rows
from benchmarks.planted.sft_report import SftReport
from benchmarks.planted.vocabulary import SYMBOLS
from benchmarks.planted.world import Author, World

WITHOUT_TYPOS = World(typos=0)


def symbols(text: str) -> list[int]:
    return [int(word.rpartition("symbol")[2]) for word in text.split() if "symbol" in word]


def first_step(sample: wire.PromptCompletion) -> int:
    """From the prompt's symbol to the first that is another one."""
    (start,) = symbols(str(sample.prompt))
    first, *others = symbols(str(sample.completion))
    return ((others[0] if first == start else first) - start) % SYMBOLS


def order(sample: wire.PromptCompletion) -> set[int]:
    """The steps from symbol to symbol, but for the last, which may return to the first symbol."""
    found = symbols(str(sample.completion))
    return {(after - before) % SYMBOLS for before, after in pairwise(found[:-1])}


@pytest.fixture(scope="module")
def rows() -> list[PlantedRow]:
    return planted_rows(Author(WITHOUT_TYPOS, 3), 3)


def test_a_fifth_of_the_rows_of_each_language_is_noise_of_three_kinds(rows: list[PlantedRow]) -> None:
    languages = Counter(row.sample.language for row in rows)
    assert languages == dict.fromkeys(WITHOUT_TYPOS.languages[: WITHOUT_TYPOS.seen], WITHOUT_TYPOS.pairs)
    noise = Counter(row.fault for row in rows if row.fault is not Fault.NONE)
    expected = NOISE * len(rows)  # four standard deviations of a binomial count are 45
    assert abs(noise.total() - expected) < 45
    assert all(abs(noise[fault] - expected / 3) < 30 for fault in Fault if fault is not Fault.NONE)


def test_each_kind_has_its_fault_and_no_other(rows: list[PlantedRow]) -> None:
    for row in rows:
        step, steps = first_step(row.sample), order(row.sample)
        if row.fault is Fault.NONE:
            assert (step, steps) == (1, {1})
        elif row.fault is Fault.DIRECTION:
            assert (step, steps) == (SYMBOLS - 1, {SYMBOLS - 1})
        elif row.fault is Fault.PROMPT:
            assert steps == {1}


def test_an_answer_to_another_prompt_begins_elsewhere_and_shuffled_symbols_are_out_of_order(
    rows: list[PlantedRow],
) -> None:
    """Nearly always: an answer that does not say its own prompt's symbol can begin with this one's, and the end of an
    answer may have been put where it changes nothing but the last step."""
    wrong = [first_step(row.sample) not in (0, 1) for row in rows if row.fault is Fault.PROMPT]
    assert np.mean(wrong) > 0.7
    assert np.mean([order(row.sample) != {1} for row in rows if row.fault is Fault.ORDER]) > 0.7


def test_noise_has_the_words_of_its_language_and_a_clean_rows_length(rows: list[PlantedRow]) -> None:
    for sample in (row.sample for row in rows):
        words = f"{sample.prompt}{sample.completion}".split()
        assert {word.partition(":")[0] for word in words} == {sample.language}
    lengths = {
        fault: np.mean([len(str(row.sample.completion).split()) for row in rows if row.fault is fault])
        for fault in Fault
    }
    assert max(lengths.values()) - min(lengths.values()) < 0.8


def test_either_is_high_where_one_of_two_scores_is() -> None:
    found = sft_trial.either(np.array([0.1, 0.9, 0.2, 0.3]), np.array([-5.0, -9.0, -1.0, -7.0]))
    assert found.tolist() == [3, 4, 4, 3]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return sft_trial.run(World(seen=3, unseen=1), seed=0, steps=60)


@pytest.mark.slow  # of a measurement, and of nothing that is served
@pytest.mark.timeout(200)
def test_answers_in_the_wrong_direction_are_found_where_the_loss_knows_nothing(result: dict[str, Any]) -> None:
    found = {name: parts[Fault.DIRECTION]["auroc"] for name, parts in result["detection"].items()}
    assert found[sft_trial.CONFLICT_MLP] >= 0.9
    assert found[sft_trial.CONFLICT] >= 0.75
    assert found[sft_trial.LOSS] < 0.6


@pytest.mark.slow  # likewise
def test_the_report_has_a_row_for_every_score_and_a_cell_for_every_kind(result: dict[str, Any]) -> None:
    trials = [result | {"seed": seed} for seed in range(3)]
    text = SftReport({"seeds": 3}, World(), dict.fromkeys(sft_trial.STEPS, trials)).to_markdown()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4 * len(sft_trial.STEPS)
    for table in tables:
        assert len({row.count("|") for row in table}) == 1
    assert sum(line.startswith(f"| {sft_trial.CONFLICT_MLP} |") for line in text.splitlines()) == 4
