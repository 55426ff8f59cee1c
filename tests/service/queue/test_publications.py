"""`POST /checkpoints`, `/workers/sleep` and `/workers/wake`: what is asked, and what workers make of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from congrad.contract import wire
from congrad_service.queue.publication import MAX_DEATHS, Successor
from congrad_service.queue.registry import Role
from congrad_worker.processes.heartbeat import Heartbeat, Rest
from congrad_worker.serving.desk import Desk
from congrad_worker.tasks.store import Store
from support.serving import ANNOUNCEMENT, service, settings

FOLDER = "/models/next"
OLD = ANNOUNCEMENT.fingerprint


class Worker:
    """One that says that it is there, and looks at its desk when it is told to here."""

    def __init__(self, redis_url: str):
        self.store = Store(settings(redis_url))
        self.desk = Desk(self.store)
        self.rest = Rest()
        self.heart = Heartbeat(self.store, Role.GRADIENTS, ANNOUNCEMENT, rest=lambda: self.rest)
        self.heart.start()

    def serve(self, name: str, fingerprint: str) -> None:
        self.heart.announce(ANNOUNCEMENT.model_copy(update={"name": name, "fingerprint": fingerprint}))

    def close(self) -> None:
        self.heart.stop()
        self.store.redis.close()


@pytest.fixture
def worker(redis_url: str) -> Iterator[Worker]:
    worker = Worker(redis_url)
    yield worker
    worker.close()


@contextmanager
def another(redis_url: str) -> Iterator[Worker]:
    worker = Worker(redis_url)
    yield worker
    worker.close()


def run(redis_url: str, test: Callable[[httpx.AsyncClient], Awaitable[None]], **options: Any) -> None:
    async def connected() -> None:
        async with service(redis_url, **{"models": "/models,org/*"} | options) as client:
            await test(client)

    asyncio.run(connected())


async def post(client: httpx.AsyncClient, status: int = 202, path: str = "/checkpoints", **body: Any) -> Any:
    response = await client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


async def state(client: httpx.AsyncClient, publication: Any) -> Any:
    return (await client.get(f"/publications/{publication['id']}")).raise_for_status().json()


def test_a_publication_goes_its_way_and_the_checkpoints_show_it(worker: Worker, redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        response = await client.post("/checkpoints", json={"adapter": FOLDER})
        assert response.status_code == 202
        begun = response.json()
        assert response.headers["Location"] == f"/publications/{begun['id']}"
        assert (begun["status"], begun["replaces"], begun["workers"]) == ("waiting", OLD, [])
        assert FOLDER not in response.text, "whoever may look at checkpoints is told no path"
        assert worker.desk.wait(1)
        asked = worker.desk.asked(OLD)
        assert asked is not None
        assert (asked.model, asked.adapter) == (None, FOLDER)

        worker.desk.name(asked, "policy+next", "beef")
        worker.desk.note(asked, "draining", waiting=3)
        (served,) = (await client.get("/checkpoints")).json()
        assert served["publication"]["status"] == "waiting"
        assert served["publication"]["workers"][0] | {"since": ""} == {
            "worker": worker.store.worker_id, "stage": "draining", "since": "", "waiting": 3, "error": None,
        }  # fmt: skip
        worker.desk.note(asked, "loading")
        assert (await state(client, begun))["status"] == "loading"

        worker.desk.succeed(OLD, Successor(fingerprint="beef", model="m", adapter=FOLDER))
        worker.serve("policy+next", "beef")
        worker.desk.note(asked, "served")
        ended = await state(client, begun)
        assert (ended["status"], ended["fingerprint"], ended["error"]) == ("served", "beef", None)
        (served,) = (await client.get("/checkpoints")).json()
        assert (served["fingerprint"], served["publication"]) == ("beef", None)
        again = await post(client, adapter=FOLDER, replaces=OLD)
        assert again["id"] == begun["id"], "a request whose answer was lost is sent again"

    run(redis_url, test)


def test_jobs_may_ask_for_what_is_on_its_way_and_for_what_it_replaces(worker: Worker, redis_url: str) -> None:
    sample = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}

    async def test(client: httpx.AsyncClient) -> None:
        with another(redis_url) as decide:
            beat = Heartbeat(decide.store, Role.DECIDE)
            beat.start()
            await post(client, adapter=FOLDER)
            asked = worker.desk.asked(OLD)
            assert asked is not None
            for wanted, status in ((OLD, 202), ("beef", 503), ("policy+next", 503)):
                await _filter(client, sample, wanted, status)
            worker.desk.name(asked, "policy+next", "beef")
            for wanted, status in ((OLD, 202), ("beef", 202), ("policy+next", 202), ("other", 503)):
                await _filter(client, sample, wanted, status)
            worker.desk.note(asked, "failed", error="no")
            beat.stop()

    async def _filter(client: httpx.AsyncClient, sample: dict[str, str], wanted: str, status: int) -> None:
        headers = {"Prefer": "respond-async"}
        body = {"samples": [sample], "checkpoint": wanted}
        response = await client.post("/filter", json=body, headers=headers)
        assert response.status_code == status, response.text

    run(redis_url, test)


def test_a_failure_is_one_when_no_worker_is_left_that_could_do_better(worker: Worker, redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        with another(redis_url) as other:
            begun = await post(client, adapter=FOLDER)
            asked = worker.desk.asked(OLD)
            assert asked is not None
            worker.desk.note(asked, "failed", error="no such folder")
            assert (await state(client, begun))["status"] == "waiting"
            other.desk.note(asked, "failed", error="no such folder")
            failed = await state(client, begun)
            assert (failed["status"], failed["error"]) == ("failed", "no such folder")
            (served,) = (await client.get("/checkpoints")).json()
            assert (served["fingerprint"], served["publication"]["error"]) == (OLD, "no such folder")
            assert (await post(client, adapter=FOLDER))["id"] != begun["id"], "it may be tried again"

    run(redis_url, test)


def test_what_kills_workers_is_given_up(worker: Worker, redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        begun = await post(client, model=FOLDER)
        asked = worker.desk.asked(OLD)
        assert asked is not None
        for number in range(MAX_DEATHS):
            assert worker.desk.asked(OLD) == asked, number
            with another(redis_url) as dying:
                dying.desk.note(asked, "loading")
        assert worker.desk.asked(OLD) is None
        failed = await state(client, begun)
        assert failed["status"] == "failed"
        assert "3 workers have ended while they loaded it" in failed["error"]

    run(redis_url, test)


@pytest.mark.usefixtures("worker")
def test_one_thing_at_a_time_takes_the_place_of_a_checkpoint(redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        begun = await post(client, adapter=FOLDER)
        assert (await post(client, adapter=FOLDER, replaces="policy"))["id"] == begun["id"]
        problem = await post(client, 409, adapter="/models/other")
        assert begun["id"] in problem["detail"]

    run(redis_url, test)


@pytest.mark.usefixtures("worker")
def test_processes_that_all_ask_for_the_same_at_once_have_asked_for_one_publication(redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        begun = await asyncio.gather(*(post(client, adapter=FOLDER) for _ in range(6)))
        assert len({publication["id"] for publication in begun}) == 1

    run(redis_url, test)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"adapter": "/etc"}, 403, "adapter: '/etc' is not among what the operator allows"),
        ({"adapter": "/models/../etc"}, 403, "is not among what the operator allows"),
        ({"adapter": FOLDER, "model": "others/model"}, 403, "model: 'others/model' is not among"),
        ({"adapter": "models/next"}, 403, "adapter: 'models/next' is not among"),
        ({"adapter": "./next"}, 422, "is neither a folder from the root on, nor a name"),
        ({}, 422, "should have a model, or an adapter, or both"),
        ({"adapter": FOLDER, "fingerprint": "f00d"}, 422, "fingerprint"),
        ({"adapter": "/models/\n"}, 422, "adapter"),
        ({"adapter": 1}, 422, "adapter"),
        ({"adapter": FOLDER, "replaces": "other"}, 404, "no worker serves checkpoint 'other'"),
    ],
)
def test_what_cannot_be_published_is_told_why(
    body: dict[str, Any], status: int, detail: str, worker: Worker, redis_url: str
) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        assert detail in (await post(client, status, **body))["detail"]
        assert worker.desk.asked(OLD) is None

    run(redis_url, test)


def test_nothing_is_published_where_the_operator_has_said_nothing_or_no_worker_is_there(redis_url: str) -> None:
    async def not_allowed(client: httpx.AsyncClient) -> None:
        problem = await post(client, 403, adapter=FOLDER)
        assert "the operator has not set CONGRAD_MODELS" in problem["detail"]

    async def no_worker(client: httpx.AsyncClient) -> None:
        await post(client, 503, adapter=FOLDER)
        for path in ("/workers/sleep", "/workers/wake"):
            for body in ({}, {"checkpoint": "f00d"}):
                response = await client.post(path, json=body)
                assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        for name in ("0" * 32, "x"):
            assert (await client.get(f"/publications/{name}")).status_code == 404

    run(redis_url, not_allowed, models=None)
    run(redis_url, no_worker)


def test_several_checkpoints_have_to_be_told_apart(worker: Worker, redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        with another(redis_url) as other:
            other.serve("other", "beef")
            problem = await post(client, 422, adapter=FOLDER)
            assert problem["errors"][0]["pointer"] == "/replaces"
            assert (await post(client, adapter=FOLDER, replaces="other"))["replaces"] == "beef"
            assert worker.desk.asked(OLD) is None
            order = await post(client, path="/workers/sleep", checkpoint="beef")
            assert order["workers"] == [other.store.worker_id]
            await post(client, 404, "/workers/sleep", checkpoint="cafe")

    run(redis_url, test)


def test_workers_are_told_to_sleep_and_to_wake_and_the_service_is_not_down(worker: Worker, redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        beat = Heartbeat(Store(settings(redis_url)), Role.DECIDE)
        beat.start()
        told = [await post(client, path="/workers/sleep", level="discard"), await post(client, path="/workers/wake")]
        assert [one["workers"] for one in told] == [[worker.store.worker_id]] * 2
        assert told[0]["number"] < told[1]["number"]
        assert worker.desk.wait(1)
        order = worker.desk.order()
        assert order is not None
        assert (order.number, order.level) == (told[1]["number"], None)
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        worker.rest = Rest("offload", order.number)
        worker.heart.beat()
        assert (await client.get("/readyz")).json() == {"status": "asleep"}
        shown = (await client.get("/workers")).json()[0]
        assert (shown["asleep"], shown["order"]) == ("offload", order.number)
        assert (await client.get("/checkpoints")).json()[0]["asleep"] == 1
        assert (
            'congrad_workers_asleep{checkpoint="policy",fingerprint="f00d"} 1.0' in (await client.get("/metrics")).text
        )
        await post(client, 422, "/workers/sleep", level="deep")
        beat.stop()

    run(redis_url, test)


def test_without_a_body_all_workers_are_told(worker: Worker, redis_url: str) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        for path in ("/workers/sleep", "/workers/wake"):
            response = await client.post(path)
            assert response.status_code == 202, response.text
            assert response.json()["workers"] == [worker.store.worker_id]
        assert (await client.post("/workers/wake", content=b"{}")).status_code == 422  # a form's, perhaps

    run(redis_url, test)


def test_how_far_a_publication_is_has_a_word_of_its_own() -> None:
    assert [status for status in wire.PublicationStatus if status.ended] == ["served", "failed"]
