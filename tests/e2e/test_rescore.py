"""Two passes, the whole way: fold everything in, then score everything against the finished direction."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from congrad.local.stack import Stack
from support.pairs import demo_samples


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    """The bare service, without the SDK's retries."""
    with httpx.Client(base_url=stack.url, timeout=120) as connected:
        yield connected


@pytest.fixture
def store(stack_log: Path) -> Iterator[redis.Redis]:
    """The Redis of the stack."""
    config = (stack_log.parent / "data" / "redis.conf").read_text(encoding="utf-8")
    options = dict(re.findall(r"^(port|requirepass) (\S+)$", config, re.MULTILINE))
    with redis.Redis(port=int(options["port"]), password=options["requirepass"]) as connected:
        yield connected


def post(http: httpx.Client, path: str, body: dict[str, Any], key: str | None = None) -> Any:
    response = http.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
    assert response.status_code == 200, response.text
    return response.json()


def scores(*results: dict[str, Any]) -> np.ndarray:
    return np.array([d["conflict_score"] for result in results for d in result["decisions"]], dtype=float)


def test_two_passes_over_several_jobs_are_one_request_with_everything(http: httpx.Client, store: redis.Redis) -> None:
    direction = f"test-{uuid.uuid4().hex}"
    rows = demo_samples("de", "fr", "ja", "zh", each=6)
    parts = [rows[0::3], rows[1::3], rows[2::3]]
    first = [post(http, "/filter", {"samples": part, "direction": direction, "retain": True}) for part in parts]
    ids = [result["job_id"] for result in first]
    described = http.get(f"/directions/{direction}").json()
    assert described["version"] == 3

    second = [post(http, f"/jobs/{job_id}/rescore", {}, key=f"again-{job_id}") for job_id in ids]
    assert http.get(f"/directions/{direction}").json() == described
    assert [result["direction"] for result in second] == [first[-1]["direction"]] * 3
    assert not {result["job_id"] for result in second} & set(ids)
    assert [d["id"] for result in second for d in result["decisions"]] == [row["id"] for part in parts for row in part]
    whole = post(http, "/filter", {"samples": [row for part in parts for row in part], "direction": direction + "-1"})
    assert np.allclose(scores(*second), scores(whole), atol=1e-5)
    assert not np.allclose(scores(*first), scores(whole), atol=1e-3)

    for job_id, result in zip(ids, second, strict=True):
        left = {key for key in store.scan_iter(f"congrad:job:{job_id}:*") if b":chunk:" not in key}  # texts are kept
        assert left == set()
        response = http.post(f"/jobs/{job_id}/rescore", json={})
        assert response.status_code == 409
        assert response.json()["detail"] == f"the gradients of job {job_id} are no longer kept"
        assert post(http, f"/jobs/{job_id}/rescore", {}, key=f"again-{job_id}") == result


def test_after_a_reset_there_is_nothing_left_to_score_against(http: httpx.Client) -> None:
    direction = f"test-{uuid.uuid4().hex}"
    body = {"samples": demo_samples("de", "fr", each=2), "direction": direction, "retain": True}
    job_id = post(http, "/filter", body)["job_id"]
    assert http.delete(f"/directions/{direction}").status_code == 204
    response = http.post(f"/jobs/{job_id}/rescore", json={})
    assert response.status_code == 409
    assert f"was reset or replaced since job {job_id} was folded in" in response.json()["detail"]
    assert http.get(f"/directions/{direction}").status_code == 404
