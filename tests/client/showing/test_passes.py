"""The time left of a run in two passes, by a clock that the test keeps."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from congrad.contract import wire
from congrad.showing.passes import Passes
from congrad.showing.progress import in_words

ROWS = 100_000
BATCH = 1_000


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Costs:
    """Seconds that a row takes in each pass, and of the first those in which it is decided, with the wait for that."""

    first: float
    second: float
    decided: float


COSTS = {
    "a GPU is what takes time": Costs(first=40e-3, second=0.1e-3, decided=0.4e-3),
    "many languages": Costs(first=2e-3, second=0.9e-3, decided=1.1e-3),
    "decisions from a gradient store": Costs(first=130e-6, second=85e-6, decided=4 * 130e-6),
    "decisions from Redis": Costs(first=220e-6, second=205e-6, decided=4 * 220e-6),
}


def timing(decide_s: float) -> wire.Timing:
    return wire.Timing(queued_s=0, gradients_s=0, decide_s=decide_s, total_s=decide_s)


def played(costs: Costs, clock: Clock, passes: Passes, had: tuple[int, int] = (0, 0)) -> Iterator[float]:
    """Runs two passes of which so many rows are there, and yields the seconds that are left after each answer."""
    missing = [ROWS - rows for rows in had]
    for number, (each, rows) in enumerate(zip((costs.first, costs.second), missing, strict=True)):
        if number:
            passes.again()
        passes.had(ROWS - rows)
        for done in range(BATCH, rows + 1, BATCH):
            clock.now += each * BATCH
            passes(BATCH, timing(costs.decided * BATCH))
            yield (rows - done) * each + (0 if number else missing[1] * costs.second)


@pytest.mark.parametrize("had", [(0, 0), (60_000, 0)], ids=["from the start", "resumed"])
@pytest.mark.parametrize("kind", COSTS)
def test_the_time_left_is_right_to_a_fifth_over_both_passes(kind: str, had: tuple[int, int]) -> None:
    clock = Clock()
    passes = Passes(ROWS, 2, clock=clock)
    whole = ROWS * (COSTS[kind].first + COSTS[kind].second)
    for left in played(COSTS[kind], clock, passes, had):
        assert passes.left_s == pytest.approx(left, rel=0.2, abs=0.02 * whole)
    assert passes.done == passes.total == 2 * ROWS
    assert passes.left_s == 0


def test_a_run_that_is_resumed_in_its_second_pass_knows_nothing_before_an_answer_is_there() -> None:
    clock = Clock()
    passes = Passes(ROWS, 2, clock=clock)
    remaining = played(Costs(first=1, second=0.01, decided=0.01), clock, passes, (ROWS, 40_000))
    passes.had(0)
    assert passes.left_s is None
    for left in remaining:
        assert passes.left_s == pytest.approx(left, rel=0.01, abs=0.01)


def test_time_goes_by_between_answers_and_is_never_below_zero() -> None:
    clock = Clock()
    passes = Passes(300, clock=clock)
    clock.now += 10
    passes(100)
    assert passes.left_s == pytest.approx(20)
    clock.now += 5
    assert passes.left_s == pytest.approx(15)
    clock.now += 50
    assert passes.left_s == 0


def test_whoever_shows_it_is_told_of_all_that_is_new() -> None:
    seen: list[int] = []
    passes = Passes(4, 2, lambda: seen.append(passes.done))
    passes.had(1)
    passes(3)
    passes.again()
    passes(4)
    assert seen == [1, 4, 8]


def test_the_time_left_is_said_in_hours_minutes_and_seconds() -> None:
    assert [in_words(3723.4), in_words(0.2), in_words(None)] == ["1:02:03 left", "0:00:00 left", "-:--:-- left"]
