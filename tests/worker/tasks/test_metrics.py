"""What a worker counts of real jobs over a real Redis, and what it says of them in its log."""

import io
import json
import logging
import logging.config
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from congrad.contract import wire
from congrad_service import keys
from congrad_service.observability import logs
from congrad_service.observability.metrics import OTHER
from congrad_service.queue.registry import Role
from congrad_worker.activity import Activity
from congrad_worker.tasks import metrics, reports
from prometheus_client import generate_latest
from redis.exceptions import RedisError
from support.bench import Bench
from support.metrics import parsed, value
from support.pairs import demo_samples
from support.serving import ANNOUNCEMENT

PROMTOOL = shutil.which("promtool")

TEXT = "text-marker"


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url)
    yield bench
    bench.store.redis.close()


def counted() -> str:
    return generate_latest(metrics.REGISTRY).decode()


class Since:
    """What was counted since this was made: tests share the counters of one process."""

    def __init__(self) -> None:
        self._before = counted()

    def __call__(self, name: str, **labels: str) -> float:
        return value(counted(), name, **labels) - value(self._before, name, **labels)


def done_by_tasks(bench: Bench, job_id: str, chunks: int) -> None:
    """Does a job as the tasks of both workers do it."""
    for number in range(chunks):
        with reports.report(Role.GRADIENTS, "t[1]", job_id, chunk=number):
            bench.processor.process(job_id, number)
    with reports.report(Role.DECIDE, "t[2]", job_id):
        bench.judge.settle(job_id)


def test_a_job_is_counted_once_however_often_its_tasks_come(bench: Bench) -> None:
    job_id, chunks = bench.create()
    since = Since()
    for _ in range(3):
        done_by_tasks(bench, job_id, chunks)
    result = bench.result(job_id)
    for language, summary in result.summary.by_language.items():
        assert since("congrad_samples_total", language=language, decision="kept") == summary.kept
        assert since("congrad_samples_total", language=language, decision="dropped") == summary.dropped
    assert since("congrad_samples_total") == len(result.decisions)
    assert since("congrad_jobs_ended_total", status="200") == 1
    assert since("congrad_chunk_samples_sum") == len(result.decisions)
    assert since("congrad_chunk_samples_count") == chunks
    assert since("congrad_tasks_total", task="gradients", outcome="done") == chunks
    assert since("congrad_tasks_total", task="gradients", outcome="repeated") == 2 * chunks
    assert since("congrad_tasks_total", task="decide", outcome="done") == 1
    assert since("congrad_tasks_total", task="decide", outcome="repeated") == 2
    assert since("congrad_task_restarts_total") == 0


def test_scores_and_times_are_those_of_the_answer(bench: Bench) -> None:
    job_id, chunks = bench.create(update=False)  # without a direction nothing has a score
    since = Since()
    done_by_tasks(bench, job_id, chunks)
    assert since("congrad_scored_samples_total") == since("congrad_conflict_score_count") == 0
    job_id, chunks = bench.create()
    since = Since()
    done_by_tasks(bench, job_id, chunks)
    result = bench.result(job_id)
    for language in result.summary.by_language:
        scores = [one.conflict_score for one in result.decisions if one.language == language]
        assert since("congrad_scored_samples_total", language=language) == len(scores)
        net = since("congrad_conflict_total", language=language, sign="conflicting") - since(
            "congrad_conflict_total", language=language, sign="agreeing"
        )
        assert net == pytest.approx(sum(score or 0.0 for score in scores), abs=1e-9)
    for stage, seconds in result.timing.model_dump().items():
        assert since("congrad_job_stage_duration_seconds_count", stage=stage.removesuffix("_s")) == 1
        total = since("congrad_job_stage_duration_seconds_sum", stage=stage.removesuffix("_s"))
        assert total == pytest.approx(seconds, abs=1e-6)


def test_lost_races_and_failures_are_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = bench.create(), bench.create(samples=demo_samples("de", each=2))
    for job_id, chunks in (early, late):
        for number in range(chunks):
            bench.processor.process(job_id, number)
    read = bench.judge.directions.read
    overtaken: list[str] = []

    def read_and_be_overtaken(name: str, *_: Any) -> Any:
        record = read(name)
        if not overtaken:
            overtaken.append(name)
            bench.judge.settle(late[0])  # commits between our reading and our commit
        return record

    monkeypatch.setattr(bench.judge.directions, "read", read_and_be_overtaken)
    since = Since()
    bench.judge.settle(early[0])
    assert since("congrad_commit_retries_total") == 1
    assert since("congrad_jobs_ended_total", status="200") == 2

    def explode(*_: object) -> None:
        raise RuntimeError(TEXT)

    monkeypatch.setattr(bench.processor, "compute", explode)
    done_by_tasks(bench, *bench.create())
    assert since("congrad_jobs_ended_total", status="500") == 1
    assert since("congrad_tasks_total", task="gradients", outcome="failed") == 1


def test_a_chunk_that_an_earlier_worker_did_not_end_is_a_restart(bench: Bench) -> None:
    job_id, _ = bench.create()
    bench.store.start(job_id, 0)  # and the worker dies
    since = Since()
    with reports.report(Role.GRADIENTS, "t[1]", job_id, chunk=0):
        bench.processor.process(job_id, 0)
    assert since("congrad_task_restarts_total", task="gradients") == 1


def test_tokens_are_told_apart_from_padding(bench: Bench) -> None:
    job_id, chunks = bench.create(samples=demo_samples("de", "zh", each=4))
    activity = Activity()
    collector = metrics.WorkerCollector(Role.GRADIENTS, activity, lambda: ANNOUNCEMENT)
    activity.count(tokens=30, computed=40)
    families = {family.name: family for family in collector.collect()}
    assert {dict(s.labels)["kind"]: s.value for s in families["congrad_tokens"].samples} == {
        "useful": 30,
        "overhead": 10,
    }
    assert families["congrad_worker_info"].samples[0].labels["fingerprint"] == ANNOUNCEMENT.fingerprint
    done_by_tasks(bench, job_id, chunks)
    own = bench.processor._engine.activity
    assert 0 < own.tokens == own.computed_tokens, "a packed row has none"


def test_users_cannot_make_series_of_languages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_languages", metrics.Bounded(metrics.MAX_LANGUAGES))
    own = [f"de-x-lang{number}" for number in range(metrics.MAX_LANGUAGES + 10)]
    pair = demo_samples("de", each=1)[0]
    rows = [{**pair, "id": str(number), "language": tag} for number, tag in enumerate(own)]
    job_id, chunks = bench.create(samples=rows, direction="many")
    since = Since()
    for number in range(chunks):
        bench.processor.process(job_id, number)
    bench.judge.settle(job_id)
    assert len(bench.result(job_id).summary.by_language) == len(own)
    told = {dict(labels)["language"] for labels in parsed(counted())["congrad_samples_total"]}
    assert told & set(own) == set(sorted(own)[: metrics.MAX_LANGUAGES])
    assert since("congrad_samples_total", language=OTHER) == 10
    assert since("congrad_samples_total") == len(own)


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_a_task_has_one_line_that_names_its_request_and_no_text(log_format: Any, bench: Bench) -> None:
    rows = [row | {"prompt": row["prompt"] + TEXT} for row in demo_samples("de", each=2)]
    job_id, _ = bench.create(samples=rows)
    bench.store.redis.hset(keys.job(job_id), "request", "request 7")
    stream = io.StringIO()
    config = logs.logging_config(log_format, reports.request_id)
    config["handlers"]["stderr"]["stream"] = stream
    kept = logging.root.handlers[:]
    try:
        logging.config.dictConfig(config)
        with reports.report(Role.GRADIENTS, "congrad.gradients[abc]", job_id, chunk=0):
            bench.processor.process(job_id, 0)
    finally:
        logging.root.handlers[:] = kept
    (line,) = stream.getvalue().splitlines()
    assert TEXT not in line
    if log_format == "pretty":
        assert "Task congrad.gradients[abc] done in 0." in line
        assert line.endswith(" [request 7]")
        return
    said = json.loads(line)
    expected = {"request_id": "request 7", "job_id": job_id, "chunk": 0, "attempt": 1, "outcome": "done"}
    assert expected.items() <= said.items()
    assert said["samples"] == len(json.loads(bench.store.redis.get(keys.chunk(job_id, 0)) or "[]"))
    assert 0 < said["tokens"] <= said["computed_tokens"]
    assert 0 < said["seconds"] < 60


def test_no_text_gets_into_the_metrics(bench: Bench) -> None:
    rows = [row | {"prompt": row["prompt"] + TEXT, "id": f"{TEXT}-{row['id']}"} for row in demo_samples("de", each=2)]
    done_by_tasks(bench, *bench.create(samples=rows))
    assert TEXT not in counted()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_memory_of_a_gpu_is_told() -> None:
    announcement = ANNOUNCEMENT.model_copy(update={"device": "cuda:0"})
    held = torch.zeros(2**20, device="cuda:0")
    families = metrics.WorkerCollector(Role.GRADIENTS, Activity(), lambda: announcement).collect()
    samples = [sample for family in families for sample in family.samples if "gpu_memory" in family.name]
    told = {sample.name: sample.value for sample in samples if sample.labels == {"gpu": "0"}}
    allocated, peak, total = (told[f"congrad_gpu_memory_{name}_bytes"] for name in ("allocated", "peak", "total"))
    assert 4 * held.numel() <= allocated <= peak < total


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_itself_finds_nothing_to_complain_of(bench: Bench) -> None:
    done_by_tasks(bench, *bench.create())
    done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=counted(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    timings = {f"{name.removesuffix('_s')}" for name in wire.Timing.model_fields}
    assert {dict(labels)["stage"] for labels in parsed(counted())["congrad_job_stage_duration_seconds_sum"]} == timings


def test_a_task_that_redis_fails_is_counted_as_given_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RedisError("away")

    job_id, chunks = bench.create()
    for method in ("start", "put_gradients"):  # at once, or in the middle
        since = Since()
        with monkeypatch.context() as patched:
            patched.setattr(bench.store, method, fail)
            with pytest.raises(RedisError):
                done_by_tasks(bench, job_id, chunks)
        assert since("congrad_tasks_total", task="gradients", outcome="requeued") == 1
        assert since("congrad_tasks_total") == 1
