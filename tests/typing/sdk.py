"""What a user's type checker makes of the SDK: read by mypy and pyright in `make lint`, never run."""

from collections.abc import AsyncIterable, Iterable
from typing import Any, assert_type

import congrad
from datasets import Dataset, IterableDataset  # pyright: ignore[reportMissingTypeStubs] # its types are in its code


def with_the_client(pairs: Iterable[dict[str, Any]]) -> None:
    with congrad.Client("http://service", timeout=congrad.Timeouts(total=5), max_retries=1) as client:
        result = client.filter(pairs, two_pass=True, on_unavailable="keep")
        assert_type(result, congrad.Filtered)
        assert_type(result.keep, list[bool])
        assert_type([d.conflict_score for d in result.decisions], list[float | None])
        for decision in client.filter_stream([congrad.Sample(language="de", chosen="a", rejected="b")]):
            assert_type(decision.reason, congrad.Reason | str | None)
        for answer in client.filter_batches(pairs):
            assert_type(answer, congrad.FilterResult)
        again = client.rescore(result.retained, half_life=8, languages=["de"], direction=None, retain=False)
        assert_type(again, congrad.Filtered)
        for chunk in congrad.load_gradients(result.retained, "file:///srv/congrad"):
            assert_type(chunk, congrad.Gradients)
        job = client.jobs.submit(pairs, selection=congrad.FractionSelection(kind="fraction", keep=0.5))
        assert_type(job, congrad.Job)
        for state in client.jobs.events(job):
            assert_type(state.status, congrad.JobStatus)
        try:
            assert_type(client.jobs.wait(job), congrad.FilterResult)
        except congrad.JobFailedError as error:
            assert_type(error.job, congrad.Job)
            assert_type(error.request_id, str | None)
            assert_type(list(error.decisions), list[congrad.Decision | None])
        assert_type(client.directions.import_("copy", client.directions.export()), congrad.Direction)
        assert_type(client.jobs.list(status="failed"), list[congrad.JobSummary])
        assert_type(client.jobs.retry(job), congrad.Job)
        assert_type(client.checkpoints(), list[congrad.Checkpoint])
        assert_type(client.checkpoints.publish(adapter="/models/next", timeout=60), congrad.Checkpoint)
        client.workers.sleep(level="discard")
        assert_type(client.workers(), list[congrad.Worker])


def with_every_keyword(client: congrad.Client, pairs: list[dict[str, Any]], options: congrad.FilterOptions) -> None:
    client.filter(
        pairs,
        direction="d",
        update=True,
        selection={"kind": "fraction", "keep": 0.5},
        checkpoint="c",
        two_pass=True,
        on_unavailable="keep",
        batch_size=1,
        concurrency=1,
        progress=False,
        idempotency_key="k",
    )
    client.filter(pairs, **options)
    client.filter_stream(pairs, on_unavailable="drop", direction="d", update=True, batch_size=1, concurrency=1)
    client.filter_batches(
        pairs, retain=True, start=1, selection=None, update=True, checkpoint=None, idempotency_key="k"
    )
    client.jobs.submit(pairs, retain=True, direction="d", update=False, idempotency_key=None)


def with_datasets(client: congrad.Client, rows: Dataset, stream: IterableDataset, table: dict[str, Any]) -> None:
    assert_type(client.filter(rows, two_pass=True), congrad.Filtered)
    for decision in client.filter_stream(stream):
        assert_type(decision, congrad.Decision)
    assert_type(client.jobs.submit(rows), congrad.Job)
    assert_type(congrad.select(table, client.filter(rows).decisions), list[congrad.Decision])


async def with_the_asynchronous_client(pairs: AsyncIterable[dict[str, Any]]) -> None:
    async with congrad.AsyncClient().with_options(max_downtime=5) as client:
        assert_type(await client.filter([]), congrad.Filtered)
        async for decision in client.filter_stream(pairs):
            assert_type(decision, congrad.Decision)
        job = await client.jobs.submit([])
        async for state in client.jobs.events(job):
            assert_type(state, congrad.Job)
        assert_type(await client.directions.list(), list[congrad.DirectionSummary])
        assert_type(await client.checkpoints.publish(model="/models/next", replaces="f"), congrad.Checkpoint)
        assert_type(await client.workers.list(), list[congrad.Worker])
