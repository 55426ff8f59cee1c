"""What is told of a direction beside itself: its scores, how it came about, who conflicts with whom.

Over a real Redis; the tests do the workers' part, and compare with the answers of the jobs.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest
from congrad_service import keys
from congrad_service.scripts.limits import HISTORY
from congrad_worker.tasks.store import Store
from safetensors.numpy import save
from support.serving import DIM, compute, service, settle, submit
from support.states import LANGUAGES, METADATA

TAGS = ["de", "fr", "de", "sw", "fr", "de", "sw", "hi"] * 3


async def finish(client: httpx.AsyncClient, store: Store, languages: Sequence[str], **body: Any) -> dict[str, Any]:
    """The answer of a new job, with gradients of its own."""
    job_id = await submit(client, languages, **body)
    compute(store, job_id, seed=int(job_id[:8], 16))
    settle(store, job_id)
    return await result(client, job_id)


async def result(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/jobs/{job_id}")).json()["result"]
    return found


async def get(client: httpx.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def conflict_counts(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By language, from the answers: dropped pairs with a score, and whom they conflict with."""
    dropped = [one for answer in results for one in answer["decisions"] if not one["keep"]]
    scored = [one for one in dropped if one["conflict_score"] is not None]
    return {
        tag: {
            "dropped": sum(one["language"] == tag for one in scored),
            "conflicts_with": Counter(m for one in scored if one["language"] == tag for m in one["conflicts_with"]),
        }
        for answer in results
        for tag in answer["direction"]["languages"]
    }


@pytest.mark.usefixtures("store")
def test_the_bins_up_to_an_edge_hold_what_a_threshold_there_keeps(redis_url: str) -> None:
    edges = [round(step / 100, 2) for step in range(-100, 101)]
    between = np.random.default_rng(0).uniform(-1, 1, 500).tolist()
    scores = edges + between + [-1.0, 1.0, 0.0]
    recent = {"recent/de": np.array(scores, np.float32), "recent/fr": np.zeros(0, np.float32)}
    sums = {f"sum/{tag}": np.ones(DIM, np.float32) for tag in LANGUAGES}

    async def ask() -> None:
        async with service(redis_url) as client:
            await client.put("/directions/d/state", content=save(sums | recent, METADATA))
            found = await get(client, "/directions/d/scores")
            assert found["width"] == 0.01
            assert found["languages"]["fr"] == {"count": 0, "mean": None, "histogram": [0] * 200}
            german = found["languages"]["de"]
            assert german["count"] == len(scores)
            assert german["mean"] == pytest.approx(sum(scores) / len(scores))
            kept = [sum(score <= edge for score in scores) for edge in edges]
            assert kept[1:] == np.cumsum(german["histogram"]).tolist()

    asyncio.run(ask())


def test_the_scores_are_those_of_the_answers(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            results = [await finish(client, store, TAGS) for _ in range(3)]
            await finish(client, store, TAGS, update=False)
            found = await get(client, "/directions/default/scores")
            for tag, language in found["languages"].items():
                scores = [d["conflict_score"] for r in results for d in r["decisions"] if d["language"] == tag]
                assert language["count"] == len(scores)
                assert language["mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-6)

    asyncio.run(ask())


def test_each_version_is_an_entry_of_the_history_once(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            results, norms = [], []
            for tags in (["de", "fr"] * 3, ["de", "sw"] * 3, ["hi"]):
                results.append(await finish(client, store, tags))
                settle(store, results[-1]["job_id"])  # delivered again
                await finish(client, store, TAGS, update=False)
                direction = await get(client, "/directions/default")
                norms.append((direction["norm"], direction["updated"]))
            history = await get(client, "/directions/default/history")
            assert [entry["version"] for entry in history] == [1, 2, 3]
            assert [(entry["norm"], entry["at"]) for entry in history] == norms
            for entry, answer in zip(history, results, strict=True):
                assert entry["job_id"] == answer["job_id"]
                samples = {tag: of.pop("samples") for tag, of in entry["by_language"].items()}
                assert samples.items() <= answer["direction"]["languages"].items()
                scored = Counter(one["language"] for one in answer["decisions"] if one["conflict_score"] is not None)
                assert {tag: of.pop("scored") for tag, of in entry["by_language"].items()} == scored
                assert entry["by_language"] == answer["summary"]["by_language"]
            latest = await get(client, "/directions/default/history?limit=2")
            assert [entry["version"] for entry in latest] == [2, 3]
            assert datetime.fromisoformat(history[0]["at"]) < datetime.fromisoformat(history[2]["at"])

    asyncio.run(ask())


def test_a_long_history_forgets_its_beginning(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            await finish(client, store, ["de", "fr"])
            (entry,) = await get(client, "/directions/default/history")
            store.redis.rpush(keys.history("default"), *[json.dumps(entry | {"version": 0})] * (HISTORY - 1))
            last = await finish(client, store, ["de", "fr"])
            history = await get(client, f"/directions/default/history?limit={HISTORY}")
            assert store.redis.llen(keys.history("default")) == len(history) == HISTORY
            assert history[0]["version"] == 0
            assert (history[-1]["version"], history[-1]["job_id"]) == (2, last["job_id"])
            assert len(await get(client, "/directions/default/history")) == 500
            assert (await client.get(f"/directions/default/history?limit={HISTORY + 1}")).status_code == 422

    asyncio.run(ask())


def test_the_conflicts_are_those_of_the_pairs_that_were_folded_in_and_dropped(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            results = [await finish(client, store, TAGS) for _ in range(3)]
            settle(store, results[0]["job_id"])  # delivered again
            await finish(client, store, TAGS, update=False)
            found = (await get(client, "/directions/default/conflicts"))["languages"]
            assert found == conflict_counts(results)
            assert sum(of["dropped"] for of in found.values()) > 10

    asyncio.run(ask())


def test_a_reset_and_an_import_begin_anew(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            for _ in range(2):
                await finish(client, store, TAGS)
            state = (await client.get("/directions/default/state")).content
            await client.put("/directions/default/state", content=state)
            assert await get(client, "/directions/default/history") == []
            fresh = {"dropped": 0, "conflicts_with": {}}
            found = await get(client, "/directions/default/conflicts")
            assert found["languages"] == dict.fromkeys(set(TAGS), fresh)
            answer = await finish(client, store, TAGS)
            assert [entry["version"] for entry in await get(client, "/directions/default/history")] == [3]
            assert (await get(client, "/directions/default/conflicts"))["languages"] == conflict_counts([answer])
            await client.delete("/directions/default")
            assert list(store.redis.scan_iter("congrad:history:*")) == []
            assert list(store.redis.scan_iter("congrad:conflicts:*")) == []
            answer = await finish(client, store, TAGS)
            assert [entry["version"] for entry in await get(client, "/directions/default/history")] == [1]
            assert (await get(client, "/directions/default/conflicts"))["languages"] == conflict_counts([answer])

    asyncio.run(ask())


@pytest.mark.parametrize("view", ["scores", "history", "conflicts"])
@pytest.mark.usefixtures("store")
def test_a_direction_that_there_is_not_has_none_of_it(view: str, redis_url: str) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            response = await client.get(f"/directions/unknown/{view}")
            assert response.status_code == 404
            assert response.json()["detail"] == "there is no direction 'unknown'"

    asyncio.run(ask())


def test_only_the_direction_itself_is_read_with_its_cosines(redis_url: str, store: Store) -> None:
    """They are the most of what is written of one: whoever does not show them should not have to read them."""

    async def ask() -> None:
        async with service(redis_url) as client:
            job_id = await submit(client, ["de", "fr"])
            await asyncio.to_thread(compute, store, job_id)
            await asyncio.to_thread(settle, store, job_id)
            store.redis.hset(keys.direction("default"), "geometry", "nobody reads this")
            for path in ("", "/default/scores", "/default/history", "/default/conflicts"):
                response = await client.get(f"/directions{path}")
                assert response.status_code == 200, (path, response.text)

    asyncio.run(ask())
