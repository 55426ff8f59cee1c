"""A short run with a fixed seed; `make chaos` makes longer ones."""

import sys
from pathlib import Path

import pytest

from chaos import check
from chaos.faults import Kind
from chaos.run import run

SECONDS = 45.0


@pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them")
@pytest.mark.timeout(600)  # where the machine is busy with other things
def test_whatever_is_killed_nothing_is_lost_nothing_doubled_and_the_directions_are_those_without_faults(
    tmp_path: Path,
) -> None:
    outcome = run(SECONDS, seed=0, folder=tmp_path, store=f"file://{tmp_path}/gradients")
    print(outcome.diary(), outcome.report(), sep="\n\n")
    assert outcome.broken == []
    assert outcome.ended_by_itself == []
    assert {fault.kind for fault in outcome.faults} == set(Kind), "a kind of fault was never drawn"
    assert len(outcome.jobs) >= 20, "there was hardly a load"
    assert check.repeats(outcome.sent) > 0, "no pair came again"
    assert any(one.request.retain for one in outcome.sent), "nothing went through the gradient store"
