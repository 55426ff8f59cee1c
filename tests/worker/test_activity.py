"""What a worker says of what it has done."""

from pathlib import Path

import pytest
from congrad_worker.activity import WINDOW_S, Activity
from congrad_worker.gradients.engine import LAYOUTS
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from support.models import checkpoint, settings
from support.pairs import demo_samples, encoded


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_busy_is_who_does_a_task_and_only_then_is_its_time_counted(clock: Clock) -> None:
    activity = Activity()
    clock.passes(5)
    assert (activity.is_busy, activity.busy_s, activity.tasks) == (False, 0, 0)
    with activity.task():
        clock.passes(2)
        assert (activity.is_busy, activity.busy_s, activity.tasks) == (True, 2, 0)
    clock.passes(5)
    assert (activity.is_busy, activity.busy_s, activity.tasks) == (False, 2, 1)


def test_a_task_that_goes_back_to_the_queue_took_its_time_and_is_not_done(clock: Clock) -> None:
    activity = Activity()

    def lose_the_broker() -> None:
        with activity.task():
            clock.passes(3)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        lose_the_broker()
    assert (activity.is_busy, activity.busy_s, activity.tasks) == (False, 3, 0)


def test_the_rate_of_tokens_is_that_of_the_last_minute_of_work(clock: Clock) -> None:
    activity = Activity()
    assert activity.tokens_per_s is None
    with activity.task():
        for _ in range(100):
            clock.passes(1)
            activity.count(tokens=10, computed=12)
    assert activity.tokens_per_s == pytest.approx(10)
    clock.passes(3600)  # idle
    assert activity.tokens_per_s == pytest.approx(10)
    with activity.task():
        for _ in range(int(WINDOW_S) + 1):
            clock.passes(1)
            activity.count(tokens=70, computed=70)
        assert activity.tokens_per_s == pytest.approx(70)
        clock.passes(WINDOW_S)  # a batch that takes long
        assert activity.tokens_per_s == pytest.approx(35, rel=0.05)
    assert (activity.tokens, activity.computed_tokens) == (1000 + 70 * 61, 1200 + 70 * 61)


def test_a_rate_costs_the_same_memory_after_an_hour_as_after_a_minute(clock: Clock) -> None:
    activity = Activity()
    with activity.task():
        for _ in range(3600):
            clock.passes(1)
            activity.count(tokens=1, computed=1)
    assert len(activity._marks) < WINDOW_S + 5


@pytest.mark.parametrize("layouts", [LAYOUTS, (TWO_ROWS,)])
def test_an_engine_counts_each_token_of_a_pair_once_and_what_the_model_computed(
    layouts: tuple[Layout, ...], small_llama: Path
) -> None:
    pairs = encoded(demo_samples("en", "ja", each=3))
    counting = verified_engine(checkpoint(small_llama), settings(small_llama), layouts)
    assert counting.activity.tokens == 0
    counting.compute(pairs)
    sequences = [(pair.prompt_ids + pair.chosen_ids, pair.prompt_ids + pair.rejected_ids) for pair in pairs]
    both = sum(len(chosen) + len(rejected) for chosen, rejected in sequences)
    once = sum(len({tuple(ids[:end]) for ids in two for end in range(1, len(ids) + 1)}) for two in sequences)
    assert counting.activity.tokens == once
    if layouts == LAYOUTS:
        assert counting.activity.computed_tokens == once  # a packed row has no padding
    else:
        assert counting.activity.computed_tokens >= both
