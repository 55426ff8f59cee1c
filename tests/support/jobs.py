"""Jobs of a stack, posted and looked at through HTTP."""

from collections import Counter
from typing import Any

import httpx
from chaos.stack import SupervisedStack


def post(http: httpx.Client, rows: list[dict[str, Any]], direction: str) -> str:
    """The id of a job that has been accepted."""
    body = {"samples": rows, "direction": direction}
    response = http.post("/filter", json=body, headers={"Prefer": "respond-async"})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def job(http: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job as it is."""
    found: dict[str, Any] = http.get(f"/jobs/{job_id}").raise_for_status().json()
    return found


def ended(http: httpx.Client, stack: SupervisedStack, job_id: str) -> dict[str, Any]:
    """The job at its end."""
    stack.wait_until(lambda: job(http, job_id)["status"] in ("succeeded", "failed"))
    return job(http, job_id)


def assert_folded_once(http: httpx.Client, direction: str, rows: list[dict[str, Any]]) -> None:
    """The samples are in their direction, which has no others, as if nothing had happened."""
    found = http.get(f"/directions/{direction}").raise_for_status().json()
    assert found["version"] == 1
    assert {tag: of["samples"] for tag, of in found["languages"].items()} == Counter(row["language"] for row in rows)
