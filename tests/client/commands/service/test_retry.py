"""What was given up, in a terminal: shown by `congrad status`, and tried again by `congrad retry`.

Over a real service and Redis; the test does the workers' part.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from congrad.contract import wire
from congrad_service.queue.registry import Role
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.tasks.store import Store
from support.commands import run
from support.serving import ANNOUNCEMENT, served, settings, submit

LOST = wire.Problem(title="t", status=500, detail="chunk 0 was given up")


@pytest.fixture
def workers(redis_url: str) -> Iterator[None]:
    """One of each role that says that it is there, for as long as commands take."""
    with ExitStack() as running:
        for role, announcement in ((Role.GRADIENTS, ANNOUNCEMENT), (Role.DECIDE, None)):
            store = Store(settings(redis_url))
            beat = Heartbeat(store, role, announcement)
            running.callback(store.redis.close)
            running.callback(beat.stop)
            beat.start()
        yield


@pytest.mark.usefixtures("workers")
def test_what_was_given_up_is_shown_and_tried_again(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with served(redis_url) as (client, _):
            url = ("--url", str(client.base_url))
            lost, other = await submit(client, ["de"]), await submit(client, ["de"])
            for job_id in (lost, other):
                store.start(job_id, 0)
                store.fail(job_id, LOST)
            shown = await asyncio.to_thread(run, "status", *url)
            assert shown.returncode == 0, shown.stderr
            assert "Failed jobs" in shown.stdout
            assert "congrad retry JOB" in shown.stderr
            one = await asyncio.to_thread(run, "retry", lost, "0" * 32, *url, "--json")
            assert one.returncode == 1
            said = json.loads(one.stdout)
            assert list(said["retried"]) == [lost]
            assert "there is no job" in said["problems"]["0" * 32]
            rest = await asyncio.to_thread(run, "retry", "--all", *url)
            assert rest.returncode == 0
            assert lost not in rest.stderr
            told = json.loads((await asyncio.to_thread(run, "status", *url, "--json")).stdout)["failed"]
            assert [(row["error"]["detail"], row["starts"]) for row in told] == [(LOST.detail, 1)] * 2
            retried = {row["id"]: row["retried"] for row in told}
            assert retried[lost] == said["retried"][lost]
            assert f"{other}: is tried again as {retried[other]}" in rest.stderr

    asyncio.run(ask())


def test_jobs_are_named_or_all_of_them() -> None:
    for words in (["--all", "0" * 32], ["--json"]):
        done = run("retry", *words)
        assert done.returncode == 2
        assert "name jobs, or say --all" in done.stderr
