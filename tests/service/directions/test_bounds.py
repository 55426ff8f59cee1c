"""How many languages a request and a direction may have; the tests do the workers' part."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
from congrad.contract import wire
from congrad_worker.decisions.aggregation.surgery import pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.store import Store
from safetensors.numpy import save
from support.serving import DIM, compute, service, settle, submit
from support.states import GEOMETRY, LANGUAGES, METADATA

TAGS = ["de", "fr", "it", "es", "pl"]
PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}

Act = Callable[[httpx.AsyncClient], Awaitable[None]]


def play(redis_url: str, act: Act, most: int = 3) -> None:
    async def once() -> None:
        async with service(redis_url, max_languages=most) as client:
            await act(client)

    asyncio.run(once())


async def post(client: httpx.AsyncClient, tags: list[str], update: bool = True) -> httpx.Response:
    body = {"samples": [{"language": tag, **PAIR} for tag in tags], "update": update}
    return await client.post("/filter", json=body, headers={"Prefer": "respond-async"})


def test_a_request_of_too_many_languages_is_refused(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        refused = await post(client, TAGS[:4])
        assert (refused.status_code, refused.json()["detail"]) == (
            422,
            "4 languages in one request; at most 3 are taken",
        )
        assert store.redis.zcard("congrad:jobs:active") == 0
        assert (await post(client, TAGS[:3] * 2)).status_code == 202

    play(redis_url, act)


def test_a_direction_takes_no_more_languages_and_still_judges_them(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        first = await submit(client, TAGS[:3])
        compute(store, first)
        settle(store, first)
        refused = await post(client, TAGS[2:4])
        assert refused.status_code == 409
        assert "direction 'default' would have 4 languages, and 3 at most" in refused.json()["detail"]
        assert (await post(client, TAGS[3:], update=False)).status_code == 202
        assert (await post(client, TAGS[1:3])).status_code == 202

    play(redis_url, act)


def test_languages_that_came_since_a_job_was_accepted_are_seen_when_it_is_decided(redis_url: str, store: Store) -> None:
    judge = Judge(store, Rules(Rule("pcgrad", 0, pcgrad), half_life=float("inf"), max_languages=3))

    async def act(client: httpx.AsyncClient) -> None:
        jobs = [await submit(client, tags) for tags in (TAGS[:2], TAGS[2:4])]
        for job_id in jobs:
            compute(store, job_id)
            judge.settle(job_id)
        late = wire.Job.model_validate((await client.get(f"/jobs/{jobs[1]}")).json())
        assert late.error is not None
        assert (late.error.status, "would have 4 languages" in late.error.detail) == (409, True)
        direction = (await client.get("/directions/default")).json()
        assert sorted(direction["languages"]) == ["de", "fr"]

    play(redis_url, act)


def test_an_imported_direction_has_no_more_either(redis_url: str, store: Store) -> None:
    vectors = {f"{kind}/{tag}": np.ones(DIM, np.float32) for tag in LANGUAGES for kind in ("sum", "recent")}

    async def act(client: httpx.AsyncClient) -> None:
        assert len(GEOMETRY["cosines_before"]) == 2
        refused = await client.put("/directions/x/state", content=save(vectors, METADATA))
        assert (refused.status_code, "would have 2 languages" in refused.json()["detail"]) == (422, True)
        assert not store.redis.exists("congrad:direction:x")

    play(redis_url, act, most=1)
