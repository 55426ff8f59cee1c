"""A direction that is made anew of retained jobs, for one call."""

import json
import math
from typing import Any

import httpx
import pytest
from congrad import Client
from congrad.contract import wire
from support.stub_service import problem


class Service:
    """Remembers what was done under each key, and which directions there are."""

    def __init__(self) -> None:
        self.directions: set[str] = set()
        self.fails = True
        self._done: dict[str, wire.FilterResult] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        _, kind, name, *_ = request.url.path.split("/")
        if request.method == "DELETE":
            self.directions.discard(name)
            return httpx.Response(204)
        body, key = json.loads(request.content), request.headers["Idempotency-Key"]
        if kind == "jobs" and name == "j2" and self.fails and not body.get("update"):
            return problem(401)
        if key not in self._done:
            self._done[key] = self._scored(name, body)
        return httpx.Response(200, text=self._done[key].model_dump_json())

    def _scored(self, job: str, body: dict[str, Any]) -> wire.FilterResult:
        if body.get("update"):
            self.directions.add(body["direction"])
        score = 0.5 if body["direction"] in self.directions else None
        return wire.FilterResult(
            job_id=f"{job}-again",
            direction=wire.DirectionRef(name=body["direction"], version=1, checkpoint="c", languages={}),
            decisions=[
                wire.Decision(
                    id=job,
                    language="de",
                    keep=True,
                    conflict_score=score,
                    conflicts_with=[],
                    truncated=False,
                    reason=None,
                )
            ],
            summary=wire.Summary(kept=1, dropped=0, by_language={}),
            timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
        )


@pytest.mark.parametrize("key", ["mine", None])
def test_a_call_that_failed_finds_its_direction_again_under_its_key_and_leaves_none_behind(key: str | None) -> None:
    service = Service()
    transport = httpx.MockTransport(service)
    with Client("http://stub", transport=transport, max_retries=0, max_downtime=0) as client:
        with pytest.raises(Exception, match="401"):
            client.rescore(["j1", "j2"], half_life=math.inf, idempotency_key=key, concurrency=1)
        assert len(service.directions) == (key is not None)
        service.fails = False
        found = client.rescore(["j1", "j2"], half_life=math.inf, idempotency_key=key, concurrency=1)
    assert [decision.conflict_score for decision in found.decisions] == [0.5, 0.5]
    assert service.directions == set()
