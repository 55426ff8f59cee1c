"""What a worker that fails says of the samples that it failed on: where in the code, and nothing of their texts."""

import json
import logging
from collections.abc import Iterator

import pytest
from congrad_service import keys
from support.bench import Bench

TEXT = "text-marker"


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    """The hands of the workers."""
    bench = Bench(redis_url)
    yield bench
    bench.store.redis.close()


def test_a_chunk_that_a_worker_of_another_release_cannot_read_is_not_quoted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    job_id, _ = bench.create()
    newer = [{"id": "0", "language": "de", "prompt": TEXT, "chosen": TEXT, "rejected": [TEXT], "colour": TEXT}]
    bench.store.redis.set(keys.chunk(job_id, 0), json.dumps(newer))
    bench.processor.process(job_id, 0)
    error = bench.job(job_id).error
    assert error is not None
    assert "ValidationError" in error.detail
    assert TEXT not in error.model_dump_json()
    assert f"job {job_id}: chunk 0 failed: ValidationError, from" in caplog.text
    assert TEXT not in caplog.text


def test_the_message_of_an_error_is_for_the_owner_of_the_job_and_not_for_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(TEXT)  # as a library might, that quotes what it was given

    job_id, _ = bench.create()
    monkeypatch.setattr(bench.processor, "compute", fail)
    bench.processor.process(job_id, 0)
    error = bench.job(job_id).error
    assert error is not None
    assert error.detail == f"the gradients of chunk 0 failed: RuntimeError: {TEXT}"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "chunk 0 failed: RuntimeError, from" in record.getMessage()
    assert "in fail" in record.getMessage()
    assert TEXT not in caplog.text.replace("raise RuntimeError(TEXT)", "")
