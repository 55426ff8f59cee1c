"""What a stack tells of itself, through both clients, against what its answers said."""

import asyncio
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from congrad import AsyncClient, Client
from congrad.contract import wire
from congrad.local.stack import Stack
from support.pairs import demo_samples

T = TypeVar("T")

PATIENCE_S = 20


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


def wait_for(read: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """What is read once it is as it should be: heartbeats bring it, and nothing tells of those."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_a_direction_tells_what_its_jobs_were_answered(client: Client, direction: str) -> None:
    batches = [demo_samples("de", "fr", "ja", each=3), demo_samples("de", each=6)[3:] + demo_samples("ar", each=3)]
    results = [next(client.filter_batches(batch, direction=direction)) for batch in batches]
    history = client.directions.history(direction)
    assert [(entry.version, entry.job_id) for entry in history] == [(1, results[0].job_id), (2, results[1].job_id)]
    for entry, result in zip(history, results, strict=True):
        assert entry.by_language.keys() == result.summary.by_language.keys()
        for tag, step in entry.by_language.items():
            summary = result.summary.by_language[tag]
            counted = (step.kept, step.dropped, step.mean_conflict, step.samples)
            assert counted == (summary.kept, summary.dropped, summary.mean_conflict, result.direction.languages[tag])
            assert step.scored == sum(
                one.language == tag and one.conflict_score is not None for one in result.decisions
            )
    shown = client.directions.get(direction)
    assert (history[-1].norm, history[-1].at) == (shown.norm, shown.updated)
    decisions = [decision for result in results for decision in result.decisions]
    assert all(decision.conflict_score is not None for decision in decisions)
    scores, conflicts = client.directions.scores(direction), client.directions.conflicts(direction)
    assert scores.languages.keys() == conflicts.languages.keys() == shown.languages.keys()
    for tag, language in scores.languages.items():
        own = [decision for decision in decisions if decision.language == tag]
        dropped = [decision for decision in own if not decision.keep]
        assert language.count == len(own)
        assert sum(language.histogram[:100]) == len(own) - len(dropped)  # at the threshold, 0
        assert conflicts.languages[tag].dropped == len(dropped)
        for other, count in conflicts.languages[tag].conflicts_with.items():
            assert count == sum(other in decision.conflicts_with for decision in dropped)


def test_the_list_of_jobs_has_their_answers_in_short(client: Client, direction: str) -> None:
    result = next(client.filter_batches(demo_samples("de", "fr", each=3), direction=direction))
    row = client.jobs.list(limit=1)[0]
    job = client.jobs.get(result.job_id)
    assert (row.id, row.status, row.direction, row.samples) == (job.id, "succeeded", direction, 6)
    assert (row.kept, row.dropped, row.timing) == (result.summary.kept, result.summary.dropped, result.timing)
    assert (row.created, row.progress, row.checkpoint) == (job.created, job.progress, result.direction.checkpoint)
    assert row.ended is not None
    assert row.ended > row.created


def test_workers_tell_what_they_have_done_and_the_queue_is_empty_then(client: Client, direction: str) -> None:
    def of(role: str) -> wire.Worker:
        (worker,) = (worker for worker in client.workers() if worker.role == role)
        return worker

    def has_done_more_than(before: wire.Worker, now: wire.Worker) -> bool:
        return now.tasks > before.tasks

    before = {role: of(role) for role in ("gradients", "decide")}
    client.filter(demo_samples("de", "fr", each=4), direction=direction)
    done = {role: wait_for(partial(of, role), partial(has_done_more_than, worker)) for role, worker in before.items()}
    (served,) = client.checkpoints()
    gradients, decide = done["gradients"], done["decide"]
    assert (gradients.checkpoint, gradients.fingerprint) == (served.name, served.fingerprint)
    assert [gradients.device] == served.devices
    assert gradients.tokens_per_s is not None
    assert gradients.tokens_per_s > 10
    assert (decide.checkpoint, decide.fingerprint, decide.tokens_per_s) == (None, None, None)
    for role, worker in done.items():
        assert (worker.id, worker.started) == (before[role].id, before[role].started)
        assert worker.memory is not None
        assert 2**20 < worker.memory.allocated_bytes < worker.memory.total_bytes
    queue = wait_for(client.queue, lambda found: found.active == 0)
    assert (queue.oldest_s, queue.decide) == (None, 0)
    assert [(one.checkpoint, one.tasks) for one in queue.checkpoints] == [(served.name, 0)]


def test_a_worker_is_busy_while_it_works_and_tasks_wait_for_it(client: Client, direction: str) -> None:
    rows = [row | {"id": str(number)} for number, row in enumerate(demo_samples() * 10)]
    job = client.jobs.submit(rows, direction=direction)
    queue = wait_for(client.queue, lambda found: found.checkpoints[0].tasks > 0)
    assert (queue.active, queue.oldest_s is not None) == (1, True)
    wait_for(client.workers, lambda found: found[0].busy)
    client.jobs.cancel(job)
    wait_for(client.workers, lambda found: not found[0].busy)
    wait_for(client.queue, lambda found: found.checkpoints[0].tasks == 0)


def test_the_asynchronous_client_reads_the_same(client: Client, stack: Stack, direction: str) -> None:
    client.filter(demo_samples("de", "fr", each=2), direction=direction)

    async def read() -> None:
        async with AsyncClient(stack.url, max_retries=0) as other:
            assert await other.jobs.list(limit=3) == client.jobs.list(limit=3)
            assert await other.directions.history(direction, limit=1) == client.directions.history(direction)
            assert await other.directions.scores(direction) == client.directions.scores(direction)
            assert await other.directions.conflicts(direction) == client.directions.conflicts(direction)
            assert [worker.id for worker in await other.workers()] == [worker.id for worker in client.workers()]
            assert (await other.queue()).limit == client.queue().limit

    asyncio.run(read())
