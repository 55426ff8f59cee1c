"""`HEAD` is answered wherever `GET` is, with its head alone (RFC 9110, 9.3.2)."""

import asyncio

import httpx
import pytest
from support.serving import opened, served, submit

PATHS = ["/livez", "/queue", "/jobs", "/directions", "/dashboard", "/dashboard/app.js", "/docs", "/openapi.json"]
WRONG = [("/directions/none", 404), ("/jobs/none", 404), ("/dashboard/none", 404), ("/none", 404), ("/readyz", 503)]


@pytest.mark.parametrize("path", PATHS)
def test_the_head_is_that_of_the_whole_answer(path: str, redis_url: str) -> None:
    with opened(redis_url) as (client, loop):
        whole = loop.run(client.get(path))
        head = loop.run(client.head(path))
    assert (head.status_code, head.content) == (whole.status_code, b"") == (200, b"")
    own = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in whole.headers.items() if k not in own
    }


@pytest.mark.parametrize(("path", "status"), WRONG)
def test_what_is_wrong_is_the_same(path: str, status: int, redis_url: str) -> None:
    with opened(redis_url) as (client, loop):
        head = loop.run(client.head(path))
    assert (head.status_code, head.content) == (status, b"")
    assert head.headers["content-type"] == "application/problem+json"


def test_a_path_without_get_has_no_head(redis_url: str) -> None:
    with opened(redis_url) as (client, loop):
        head = loop.run(client.head("/filter"))
    assert (head.status_code, head.headers["allow"]) == (405, "POST")


def test_it_asks_for_the_token_and_is_counted_by_its_route(redis_url: str) -> None:
    with opened(redis_url, api_key="secret") as (client, loop):
        assert loop.run(client.head("/directions/a")).status_code == 401
        headers = {"Authorization": "Bearer secret"}
        assert loop.run(client.head("/directions/a", headers=headers)).status_code == 404
        counted = loop.run(client.get("/metrics", headers=headers)).text
    assert 'congrad_http_requests_total{method="HEAD",route="/directions/{name}",status="404"} 1.0' in counted


@pytest.mark.usefixtures("store")
def test_the_head_of_a_stream_is_its_end(redis_url: str) -> None:
    async def ask() -> list[httpx.Response]:
        async with served(redis_url) as (client, state):
            job_id = await submit(client, ["de"])
            # One connection: what follows is read where the last answer ended.
            answers = [await client.head(path) for path in ("/events", f"/jobs/{job_id}/events", "/livez")]
            async with asyncio.timeout(5):
                while state.feed._onlookers:  # noqa: ASYNC110 # nothing tells
                    await asyncio.sleep(0.01)
            return answers

    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].headers["content-type"].startswith("text/event-stream")
