"""The front end over a real Redis, without workers: tests play their part."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import httpx
import numpy as np
import pytest
import redis
from congrad.contract import wire
from congrad_service import keys
from congrad_service.app import create_app
from congrad_service.edge.server import BoundedServer
from congrad_service.queue.registry import LIFETIME_S, Announcement, Beat, Registry, Role, Status
from congrad_service.settings import ServiceSettings
from congrad_service.state import State
from congrad_worker.decisions.aggregation.surgery import pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules
from congrad_worker.decisions.direction import Samples
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.records import ChunkResult
from congrad_worker.tasks.store import Store

from support.stored import chunk_of, record_of

DIM = 16

RULES = Rules(Rule("pcgrad", 0, pcgrad), half_life=float("inf"))

ANNOUNCEMENT = Announcement(
    name="policy",
    fingerprint="f00d",
    loss="sigmoid",
    beta=0.1,
    reference="policy",
    projection=wire.Projection(kind="kronecker", rank=64, dim=DIM, seed=0),
    target_modules=None,
    unit_gradients=True,
    modules=4,
    coverage=0.99,
    shared_prompts=True,
    max_length=128,
    dtype="float32",
    device="cpu",
)


def settings(redis_url: str, **options: Any) -> ServiceSettings:
    """Settings of a service; the environment has no say."""
    return ServiceSettings.model_validate({"redis_url": redis_url, **options})


def announce_workers(redis_url: str) -> None:
    """Makes the registry believe for a while that a gradients worker and a decide worker are there."""
    with redis.Redis.from_url(redis_url) as connection:
        now = cast("tuple[int, int]", connection.time())[0]
        status = Status(started=float(now), busy=False, tasks=0, tokens_per_s=None, memory=None)
        connection.set(keys.worker("w"), Beat(announcement=ANNOUNCEMENT, status=status).model_dump_json())
        for role in Role:
            connection.zadd(keys.workers(role), {"w": now + LIFETIME_S - 1})  # as late as it is believed


@asynccontextmanager
async def service(redis_url: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service in this process, without a server between them."""
    app = create_app(settings(redis_url, **options))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@contextmanager
def opened(redis_url: str, **options: Any) -> Iterator[tuple[httpx.AsyncClient, asyncio.Runner]]:
    """The same for tests that are no coroutines, with the loop that runs what they ask."""
    with asyncio.Runner() as loop:
        asked = service(redis_url, **options)
        client = loop.run(asked.__aenter__())
        try:
            yield client, loop
        finally:
            loop.run(asked.__aexit__(None, None, None))


@asynccontextmanager
async def served(redis_url: str, **options: Any) -> AsyncIterator[tuple[httpx.AsyncClient, State]]:
    """A client of a service under uvicorn, as streams and disconnects need it, and the service's state."""
    wanted = settings(redis_url, **options)
    app = create_app(wanted)
    async with (
        listening(app, wanted.max_connections) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=20) as client,
    ):
        await client.get("/livez")
        yield client, app.state.congrad


@asynccontextmanager
async def listening(app: Any, max_connections: int = 100, **config: Any) -> AsyncIterator[tuple[str, int]]:
    """Where an ASGI application is served."""
    server = BoundedServer(app, max_connections, log_config=None, **config)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # what comes before the server is up, waits here
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await running


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Has ``do`` done while the next request is looked at: what it asks has been looked for, and nothing is written."""
    look = Registry.look

    async def looks(self: Registry) -> Any:
        monkeypatch.setattr(Registry, "look", look)
        await asyncio.to_thread(do)
        return await look(self)

    monkeypatch.setattr(Registry, "look", looks)


async def submit(client: httpx.AsyncClient, languages: Sequence[str], **body: Any) -> str:
    """The id of a new job with one pair for each of ``languages``. Ids have what some take for the end of a line."""
    pair = {"prompt": "p", "chosen": "c", "rejected": "r"}
    samples = [{"id": f"{number}\u2028", "language": tag, **pair} for number, tag in enumerate(languages)]
    headers = {"Prefer": "respond-async"}
    response = await client.post("/filter", json={"samples": samples, **body}, headers=headers)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def compute(store: Store, job_id: str, seed: int = 0) -> None:
    """Leaves random gradients for every chunk of a job."""
    job = record_of(store, job_id)
    assert job is not None
    draw = np.random.default_rng(seed)
    for number in range(job.chunks):
        store.start(job_id, number)
        chunk = chunk_of(store, job_id, number)
        assert chunk is not None
        rows = draw.standard_normal((len(chunk), DIM)).astype(np.float32)
        gradients = Samples.of(rows, [sample.language for sample in chunk])
        ids = [str(sample.id) for sample in chunk]
        store.put_gradients(job_id, number, ChunkResult(ids, gradients, [False] * len(ids), []))


def settle(store: Store, job_id: str) -> None:
    """Decides a job whose gradients are there."""
    Judge(store, RULES).settle(job_id)
