"""Two passes through a gradient store whose parts are killed on the way, beside two that nothing happens to."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import congrad
import httpx
import numpy as np
import pytest
from chaos.parts import Part, Role
from chaos.stack import SERVED, SupervisedStack, supervised_stack
from support.pairs import demo_samples

BATCHES = 3
Strike = Callable[[Callable[[], str]], str]
"""Submits a job and does something to the stack before it has ended."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[SupervisedStack]:
    """One worker of each kind. Nothing is computed beside anything else, so that sums are the same to the last bit."""
    settings = {
        "CONGRAD_GRADIENT_STORE": f"file://{tmp_path}/gradients",
        "CONGRAD_BATCH_REQUESTS": "false",
        "CONGRAD_CHUNK_TOKENS": "200",
    }
    folder, draw = tmp_path / "stack", random.Random(0)  # noqa: S311
    with supervised_stack(folder, draw, settings, gradients_workers=1, publishes=False) as running:
        yield running


def batches() -> list[list[dict[str, str]]]:
    rows = demo_samples("de", "fr", "ja", each=BATCHES * 2)
    return [rows[number::BATCHES] for number in range(BATCHES)]


def part(stack: SupervisedStack, role: Role) -> Part:
    (found,) = stack.of(role)
    return found


class Passes:
    """Both passes of one direction, a job at a time.

    :param strikes: what happens to each job, of both passes.
    """

    def __init__(self, stack: SupervisedStack, http: httpx.Client, direction: str, strikes: Sequence[Strike]):
        self._stack = stack
        self._http = http
        about = {"direction": direction, "retain": True, "checkpoint": SERVED[0]}
        first = [("/filter", {"samples": rows, **about}) for rows in batches()]
        firsts = [self._done(*job, strike) for job, strike in zip(first, strikes, strict=False)]
        self.retained = [one["job_id"] for one in firsts]
        again = [(f"/jobs/{job_id}/rescore", {"retain": True}) for job_id in self.retained]
        seconds = [self._done(*job, strike) for job, strike in zip(again, strikes[BATCHES:], strict=True)]
        self.decisions = [one["decisions"] for one in (*firsts, *seconds)]

    def _done(self, path: str, body: dict[str, Any], strike: Strike) -> dict[str, Any]:
        self._stack.wait_until_whole()

        def submit() -> str:
            response = self._http.post(path, json=body, headers={"Prefer": "respond-async"})
            assert response.status_code in (200, 202), response.text  # as one that is sent again may be
            said = response.json()
            return str(said.get("id") or said["job_id"])

        job_id = strike(submit)
        self._stack.wait_until(lambda: self._result(job_id) is not None)
        return self._result(job_id) or {}

    def _result(self, job_id: str) -> dict[str, Any] | None:
        """None as long as there is none, or nobody to ask."""
        try:
            response = self._http.get(f"/jobs/{job_id}")
        except httpx.HTTPError:
            return None
        job = response.json()
        assert job.get("status") != "failed", job
        result: dict[str, Any] | None = job.get("result")
        return result


@pytest.mark.slow  # without a kill: worker/tasks/test_gradient_store.py
@pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them")
@pytest.mark.timeout(900)  # where the machine is busy with other things
def test_decisions_are_those_without_faults_and_all_is_stored_whoever_is_killed(
    stack: SupervisedStack, tmp_path: Path
) -> None:
    gradients, decide, redis = (part(stack, role) for role in (Role.GRADIENTS, Role.DECIDE, Role.REDIS))

    def calm(submit: Callable[[], str]) -> str:
        return submit()

    def in_the_middle_of_its_files(submit: Callable[[], str]) -> str:
        job_id = submit()
        stack.wait_until(lambda: list((tmp_path / "gradients" / job_id).glob("*.safetensors")))
        gradients.kill()
        return job_id

    def before_it_is_decided(*killed: Part) -> Strike:
        def strike(submit: Callable[[], str]) -> str:
            with decide.held_still():
                job_id = submit()
                for one in killed:
                    one.kill()
            return job_id

        return strike

    killing = [
        in_the_middle_of_its_files,
        before_it_is_decided(redis),
        before_it_is_decided(gradients, decide),
        before_it_is_decided(decide),
        before_it_is_decided(redis),
        calm,
    ]
    with httpx.Client(base_url=stack.url, timeout=60) as http:
        expected = Passes(stack, http, "calm", [calm] * 2 * BATCHES)
        found = Passes(stack, http, "killed", killing)
    assert found.decisions == expected.decisions
    assert stack.ended_by_itself == []
    stored = [list(congrad.load_gradients(one.retained, f"file://{tmp_path}/gradients")) for one in (expected, found)]
    assert sum(len(chunk.ids) for chunk in stored[0]) == sum(map(len, batches()))
    for mine, theirs in zip(*stored, strict=True):
        assert mine.ids == theirs.ids
        assert np.array_equal(mine.units, theirs.units)
        assert np.array_equal(mine.norms, theirs.norms)
