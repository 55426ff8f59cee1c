"""Jobs and directions through both clients, against the real stack."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import congrad
import pytest
from congrad import AsyncClient, Client, JobStatus
from congrad.local.stack import Stack
from support.pairs import demo_samples


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


def test_a_job_is_submitted_followed_and_waited_for(client: Client, direction: str) -> None:
    job = client.jobs.submit(demo_samples("de", "fr", each=6), direction=direction)
    assert (job.samples, job.direction) == (12, direction)
    states = list(client.jobs.events(job))
    assert states[-1].status is JobStatus.SUCCEEDED
    assert all(not state.status.ended for state in states[:-1])
    result = client.jobs.wait(job)
    assert result == client.jobs.wait(job.id) == states[-1].result
    assert client.jobs.reload(job).status is JobStatus.SUCCEEDED
    assert len(result.keep) == 12
    with pytest.raises(congrad.ConflictError, match="can no longer be cancelled"):
        client.jobs.cancel(job)


def test_a_job_that_was_cancelled_says_so(client: Client, direction: str) -> None:
    rows = [row | {"id": str(i)} for i, row in enumerate(demo_samples() * 5)]
    job = client.jobs.submit(rows, direction=direction)
    assert client.jobs.cancel(job).status is JobStatus.CANCELLED
    with pytest.raises(congrad.JobCancelledError) as caught:
        client.jobs.wait(job)
    assert caught.value.job.id == job.id
    with pytest.raises(congrad.NotFoundError):
        client.directions.get(direction)


def test_a_submission_under_a_known_key_is_the_job_of_before(client: Client, direction: str) -> None:
    rows = demo_samples("de", each=2)
    first = client.jobs.submit(rows, direction=direction, idempotency_key=direction)
    client.jobs.wait(first)
    assert client.jobs.submit(rows, direction=direction, idempotency_key=direction).id == first.id


def test_a_direction_is_exported_reset_and_imported(client: Client, direction: str) -> None:
    rows = demo_samples("de", "fr", "ja", each=4)
    client.filter(rows, direction=direction)
    before = client.filter(rows, direction=direction, update=False)
    state = client.directions.export(direction)
    client.directions.reset(direction)
    assert direction not in [row.name for row in client.directions.list()]
    assert client.directions.import_(direction, state).languages.keys() == {"de", "fr", "ja"}
    assert client.filter(rows, direction=direction, update=False).decisions == before.decisions
    with pytest.raises(congrad.UnprocessableError, match="safetensors"):
        client.directions.import_(direction, b"no state")


def test_two_passes_score_against_the_finished_direction(client: Client, direction: str) -> None:
    rows = demo_samples("de", "fr", "ja", each=6)
    whole = client.filter(rows, direction=direction + "-whole")
    found = client.filter(rows, direction=direction, batch_size=5, concurrency=2, two_pass=True)
    scores = [d.conflict_score for d in found.decisions]
    assert scores == pytest.approx([d.conflict_score for d in whole.decisions], abs=1e-5)
    assert client.directions.get(direction).version == 4
    with pytest.raises(congrad.ConflictError, match="no longer"):
        client.jobs.rescore(_rescored(client, rows, direction))


def _rescored(client: Client, rows: list[dict[str, object]], direction: str) -> str:
    """A retained job whose gradients were dropped when it was scored again."""
    (result,) = client.filter_batches(rows, direction=direction, retain=True)
    client.jobs.rescore(result.job_id)
    return result.job_id


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stack.url, max_retries=0) as client:
        yield client


def test_the_asynchronous_client_does_the_same(stack: Stack, direction: str) -> None:
    async def run() -> None:
        rows = demo_samples("de", "fr", "ja", each=6)
        async with connected(stack) as client:
            await client.wait_until_ready(20)
            assert await client.is_ready()
            assert len(await client.checkpoints()) == 1
            job = await client.jobs.submit(rows, direction=direction, retain=True)
            states = [state.status async for state in client.jobs.events(job)]
            assert states[-1] is JobStatus.SUCCEEDED
            first = await client.jobs.wait(job)
            again = await client.jobs.rescore(job)
            assert again.keep == first.keep
            assert (await client.jobs.get(job)).status is JobStatus.SUCCEEDED
            with pytest.raises(congrad.ConflictError):
                await client.jobs.cancel(job)
            state = await client.directions.export(direction)
            await client.directions.reset(direction)
            assert (await client.directions.import_(direction, state)).version >= 1
            assert (await client.directions.get(direction)).languages["de"].samples == 6
            assert direction in [row.name for row in await client.directions.list()]
            batches = [result async for result in client.filter_batches(rows, direction=direction, batch_size=7)]
            assert [len(result.decisions) for result in batches] == [7, 7, 4]
            found = await client.filter(rows, direction=direction + "-2", batch_size=7, two_pass=True)
            assert [decision.id for decision in found.decisions] == [row["id"] for row in rows]

    asyncio.run(run())
