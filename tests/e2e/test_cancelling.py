"""What nobody wants any more costs no more gradients."""

import time
import uuid
from typing import cast

from congrad import Client
from congrad.contract import wire
from congrad.local.stack import Stack
from congrad_service import keys
from redis import Redis
from support.pairs import demo_samples

COPIES = 10


def test_of_a_job_that_is_cancelled_no_further_chunk_is_computed(stack: Stack, client: Client) -> None:
    rows = [row | {"id": f"{copy}-{row['id']}"} for copy in range(COPIES) for row in demo_samples()]
    direction = f"test-{uuid.uuid4().hex}"
    job = client.jobs.submit(rows, direction=direction)
    chunks = job.progress.total
    assert chunks >= 20, "hardly anything to save"
    while client.jobs.get(job).status is wire.JobStatus.QUEUED:
        time.sleep(0.02)  # its events begin with the first chunk's end
    cancelled = client.jobs.cancel(job)
    assert cancelled.status is wire.JobStatus.CANCELLED
    # What comes behind it in the same queue: when this has ended, all of its chunks have been taken.
    begun = time.monotonic()
    client.filter(demo_samples("de", each=1), direction=direction)
    waited = time.monotonic() - begun
    with Redis.from_url(stack.environment["CONGRAD_REDIS_URL"]) as redis:
        fields = cast("dict[bytes, bytes]", redis.hgetall(keys.job(job.id)))
        left = list(redis.scan_iter(f"{keys.job(job.id)}:*"))
    started = [name for name in fields if name.startswith(b"attempts:")]
    assert len(started) <= 2, f"{len(started)} of {chunks} chunks were started; the next job waited {waited:.1f} s"
    assert left == []
    assert client.directions.get(direction).languages["de"].samples == 1
