"""A short run with a fixed seed, and one with every kind of fault; `make chaos` makes longer ones. Each fault alone is
in `e2e/test_faults.py`, `test_redelivery.py` and `test_redis_refusals.py`."""

import sys
from pathlib import Path

import pytest

from chaos import check
from chaos.faults import Kind
from chaos.load import PAUSE_S
from chaos.run import run

SECONDS = 20.0
EVERY_KIND_S = 90.0

SELDOM_S = 3.0
"""The short run's clients pause for up to so long: whatever is hit is still at some of their work, and not all that the
cores can do meanwhile has to be computed, and computed once more without faults."""


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "pause"), [(SECONDS, SELDOM_S), (EVERY_KIND_S, PAUSE_S)])
@pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them")
@pytest.mark.timeout(600)  # where the machine is busy with other things
def test_whatever_is_killed_nothing_is_lost_nothing_doubled_and_the_directions_are_those_without_faults(
    seconds: float,
    pause: float,
    tmp_path: Path,
) -> None:
    outcome = run(seconds, seed=0, folder=tmp_path, store=f"file://{tmp_path}/gradients", pause=pause)
    print(outcome.diary(), outcome.report(), sep="\n\n")
    assert outcome.broken == []
    assert outcome.ended_by_itself == []
    assert outcome.faults
    if seconds >= EVERY_KIND_S:
        assert {fault.kind for fault in outcome.faults} == set(Kind), "a kind of fault was never drawn"
    assert len(outcome.jobs) >= 20, "there was hardly a load"
    assert check.repeats(outcome.sent) > 0, "no pair came again"
    assert any(one.request.retain for one in outcome.sent), "nothing went through the gradient store"
