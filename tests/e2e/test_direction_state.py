"""A direction that goes out as a file and comes back scores as before."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from congrad.local.stack import Stack
from support.pairs import demo_samples


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=120) as client:
        yield client


def decisions(http: httpx.Client, direction: str, rows: list[dict[str, Any]], update: bool = False) -> Any:
    """What is decided, with the selection that needs the direction's latest scores as well."""
    selection = {"kind": "fraction", "keep": 0.5, "within": "stream"}
    body = {"samples": rows, "direction": direction, "update": update, "selection": selection}
    response = http.post("/filter", json=body)
    assert response.status_code == 200, response.text
    return response.json()["decisions"]


def to_rounding(found: Any) -> Any:
    """The same decisions, with scores up to rounding: a direction that has grown added up its products in another order
    than one that was read."""
    return [decision | {"conflict_score": pytest.approx(decision["conflict_score"], abs=1e-12)} for decision in found]


def test_a_direction_comes_back_from_its_file_as_it_was(http: httpx.Client) -> None:
    name = f"test-{uuid.uuid4().hex}"
    decisions(http, name, demo_samples("de", "fr", "ja", each=6), update=True)
    decisions(http, name, demo_samples("de", "sw", each=3), update=True)
    probe = demo_samples("de", "fr", "it", each=4)
    before, shown = decisions(http, name, probe), http.get(f"/directions/{name}").json()
    assert all(decision["conflict_score"] is not None for decision in before)

    exported = http.get(f"/directions/{name}/state").content
    assert http.delete(f"/directions/{name}").status_code == 204
    assert decisions(http, name, probe) != before
    assert http.put(f"/directions/{name}/state", content=exported).status_code == 201

    assert http.get(f"/directions/{name}").json() == shown
    assert decisions(http, name, probe) == to_rounding(before)
    # It goes on where it was, too.
    more = demo_samples("ja", each=8)[6:]
    assert http.put(f"/directions/{name}-copy/state", content=exported).status_code == 201
    grown = decisions(http, f"{name}-copy", more, update=True)
    assert decisions(http, name, more, update=True) == to_rounding(grown)
    assert http.get(f"/directions/{name}").json()["version"] == shown["version"] + 1
