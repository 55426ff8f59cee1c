"""A whole stack as it is watched: its metrics are its answers' numbers, its log is JSON, its spans are one trace."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import congrad
import httpx
import pytest
from congrad.client import Client
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from support import prometheus
from support.collector import Span
from support.dashboard import queries
from support.metrics import parsed, value
from support.pairs import demo_samples, without_prompt
from support.watched import Watched

TEXT = "Quaxolotl"


@pytest.fixture
def client(watched: Watched) -> Iterator[Client]:
    with Client(watched.stack.url, max_retries=0) as connected:
        yield connected


def rows(*languages: str) -> list[dict[str, Any]]:
    return [row | {"prompt": f"{row['prompt']} {TEXT}"} for row in demo_samples(*languages, each=3)]


def post(watched: Watched, **body: Any) -> httpx.Response:
    """The answer to six samples."""
    url = f"{watched.stack.url}/filter?token={TEXT}"
    headers = {"X-Request-ID": body["direction"]}
    return httpx.post(url, json={"samples": rows("de", "fr"), **body}, headers=headers, timeout=60).raise_for_status()


def test_the_counters_of_all_parts_are_the_numbers_of_the_answers(watched: Watched, client: Client) -> None:
    parts = ("service", "gradients", "decide")
    before = {part: watched.metrics(part) for part in parts}
    bodies: list[dict[str, Any]] = [{}, {"repeats": "count"}, {"update": False}]
    answers = [post(watched, direction="counted", **body).json() for body in bodies]

    def grown(part: str, name: str, **labels: str) -> float:
        return value(watched.metrics(part), name, **labels) - value(before[part], name, **labels)

    # Tasks end a moment after what they stored is there, and nobody is told.
    until(lambda: grown("decide", "congrad_tasks_total", task="decide", outcome="done") == len(answers))
    until(lambda: grown("gradients", "congrad_chunk_samples_sum") == 18)
    until(
        lambda: (
            grown("gradients", "congrad_tasks_total", task="gradients", outcome="done")
            == grown("gradients", "congrad_chunk_samples_count")
        )
    )
    for language in ("de", "fr"):
        kept = sum(answer["summary"]["by_language"][language]["kept"] for answer in answers)
        assert grown("decide", "congrad_samples_total", language=language, decision="kept") == kept
        assert grown("decide", "congrad_samples_total", language=language) == 9
        assert grown("decide", "congrad_repeated_samples_total", language=language) == 3
    assert grown("decide", "congrad_jobs_ended_total", status="200") == 3
    total = sum(answer["timing"]["total_s"] for answer in answers)
    assert grown("decide", "congrad_job_stage_duration_seconds_sum", stage="total") == pytest.approx(total, abs=1e-3)
    assert grown("gradients", "congrad_chunk_samples_sum") == 18
    chunks = grown("gradients", "congrad_chunk_samples_count")
    assert chunks == grown("gradients", "congrad_tasks_total", task="gradients", outcome="done") > 3
    assert grown("gradients", "congrad_tokens_total", kind="useful") > 18
    assert 0 < grown("gradients", "congrad_busy_seconds_total") < total
    assert grown("service", "congrad_http_requests_total", route="/filter", status="200") == 3
    now = watched.metrics("service")
    assert value(now, "congrad_direction_version", direction="counted") == 2
    norm = client.directions.get("counted").norm
    assert value(now, "congrad_direction_norm", direction="counted") == pytest.approx(norm)
    assert value(now, "congrad_queue_jobs") == 0
    assert value(now, "congrad_workers", role="gradients") == value(now, "congrad_workers", role="decide") == 1


def until(is_so: Callable[[], bool]) -> None:
    """Looks until it is so."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_log_is_json_with_a_line_for_each_request_and_task(watched: Watched) -> None:
    answer = post(watched, direction="logged")
    job_id, timing = answer.json()["job_id"], answer.json()["timing"]

    def said(logger: str) -> list[dict[str, Any]]:
        own = (line for line in watched.lines() if line["request_id"] == "logged")
        return [line for line in own if line["logger"] == logger]

    def of_task(name: str) -> list[dict[str, Any]]:
        return [line for line in said("congrad_worker.tasks.reports") if line["task"].startswith(f"congrad.{name}[")]

    def of_chunks() -> list[dict[str, Any]]:
        """The message of a chunk that was computed along with another one has a line too."""
        return [line for line in of_task("gradients") if "samples" in line]

    # A line comes a moment after the answer or the gradients are there, and a log tells nobody that it grows.
    until(lambda: bool(of_task("decide") and said("congrad_service.observability.observed")))
    until(lambda: sum(line["samples"] for line in of_chunks()) == 6)
    (request,), (decision,), gradients = said("congrad_service.observability.observed"), of_task("decide"), of_chunks()
    expected = {"job_id": job_id, "method": "POST", "path": "/filter", "status": 200, "samples": 6}
    assert expected.items() <= request.items()
    assert request["received_bytes"] > 1000
    assert request["sent_bytes"] == len(answer.content)
    assert {line["job_id"] for line in (decision, *gradients)} == {job_id}
    assert sorted(line["chunk"] for line in gradients) == list(range(len(gradients)))
    assert sum(line["samples"] for line in gradients) == decision["samples"] == 6
    assert timing.items() <= decision.items()
    assert request["seconds"] > timing["total_s"]
    assert TEXT not in watched.log.read_text(encoding="utf-8")


def test_one_trace_reaches_from_the_application_to_the_commit(watched: Watched, client: Client) -> None:
    provider = TracerProvider()
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with provider.get_tracer("application").start_as_current_span("training step") as step:
            result = client.filter(rows("de", "fr"), direction="traced")
    finally:
        instrumentor.uninstrument()
    trace = f"{step.get_span_context().trace_id:032x}"

    def own(spans: list[Span]) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        for span in spans:
            if span.trace == trace:
                found.setdefault(span.name, []).append(span)
        return found

    def is_whole(spans: list[Span]) -> bool:
        found = own(spans)
        return {"POST /filter", "wait", "decide"} <= found.keys() and samples(found.get("gradients", [])) == 6

    def samples(spans: list[Span]) -> int:
        return sum(span.attributes.get("congrad.samples", 0) for span in spans)  # one that was taken along has none

    named = own(watched.collector.wait_for(is_whole))
    services = {span.service for spans in named.values() for span in spans}
    assert services == {"congrad-service", "congrad-gradients", "congrad-decide"}
    (request,), (accept,), (decide,), (commit,) = (
        named[name] for name in ("POST /filter", "accept", "decide", "commit")
    )
    assert named["enqueue"][0].parent == named["wait"][0].parent == accept.parent == request.id
    assert {span.parent for span in named["gradients"]} == {decide.parent} == {accept.id}
    assert commit.parent == decide.id
    assert samples(named["decide"]) == len(result.decisions) == 6
    # Of chunks that were computed together the first has the tokens of all.
    assert any(span.attributes.get("congrad.tokens", 0) > 0 for span in named["gradients"])
    assert decide.attributes["congrad.kept"] == result.summary.kept
    assert request.attributes["congrad.job_id"] == decide.attributes["congrad.job_id"]
    # The request's own parent is the span of httpx, in the application.
    assert request.parent not in {"", *(span.id for spans in named.values() for span in spans)}


def test_traces_have_no_texts_no_queries_and_no_probes(watched: Watched, client: Client) -> None:
    seen = len(watched.collector.spans)
    httpx.get(f"{watched.stack.url}/readyz")
    httpx.get(f"{watched.stack.url}/metrics")
    httpx.get(f"{watched.stack.url}/directions?token={TEXT}")
    with pytest.raises(congrad.JobFailedError):
        client.filter([without_prompt(rows("de")[0] | {"chosen": TEXT})])
    spans = watched.collector.wait_for(lambda spans: any(s.name == "GET /directions" for s in spans[seen:]))
    assert not {span.name for span in spans} & {"GET /readyz", "GET /livez", "GET /metrics"}
    assert TEXT.encode() not in watched.collector.raw


@pytest.mark.skipif(prometheus.PROGRAM is None, reason="Prometheus is not installed")
def test_every_query_of_the_dashboard_has_an_answer_from_a_real_prometheus(watched: Watched, tmp_path: Path) -> None:
    jobs = {
        "congrad-service": [watched.stack.url.removeprefix("http://")],
        "congrad-worker": [f"127.0.0.1:{watched.gradients_port + worker}" for worker in (0, 1)],
    }
    with prometheus.prometheus(tmp_path, jobs, token="unused") as real:
        until(lambda: answers(real, "sum(up) == 3"))
        # What is asked for counts what is new in ten seconds, so that something has to go on.
        until(
            lambda: bool(post(watched, direction="shown")) and answers(real, "increase(congrad_samples_total[10s]) > 0")
        )
        until(lambda: all(rule["health"] == "ok" for rule in real.get("rules")["groups"][0]["rules"]))
        # There is no GPU here, and no limit of Redis's memory. Again, as a scrape that takes too long empties all.
        missing = {"Memory of the GPUs", "Redis"}
        until(lambda: bool(post(watched, direction="shown")) and unanswered(real) <= missing)
        assert not [rule for rule in real.get("rules")["groups"][0]["rules"] if rule["state"] != "inactive"]
        (kept,) = real.query('sum(congrad_samples_total{decision="kept"})')
        assert float(kept["value"][1]) > 0


def unanswered(real: prometheus.Prometheus) -> set[str]:
    """The panels one of whose queries has no answer."""
    return {title for title, query in queries("10s") if not real.query(query)}


def answers(real: prometheus.Prometheus, expression: str) -> bool:
    """Whether there is an answer, once it is there itself."""
    with suppress(httpx.HTTPError):
        return bool(real.query(expression))
    return False


def listener(port: int) -> int:
    """The process that has a port."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    sockets = {f"socket:[{fields[9]}]" for fields in lines if fields[1].endswith(f":{port:04X}")}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it has been closed
            if str(link.readlink()) in sockets:
                return int(link.parts[2])
    raise AssertionError(f"nobody listens on {port}")


@pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them")
def test_the_worker_that_takes_the_place_of_one_that_was_killed_has_its_port(watched: Watched, client: Client) -> None:
    client.filter(rows("de"), direction="replaced")
    started = parsed(watched.metrics("decide"))["process_start_time_seconds"]
    os.kill(listener(watched.gradients_port + 1), signal.SIGKILL)
    client.filter(rows("de"), direction="replaced")  # answered by the next one
    until(lambda: value(watched.metrics("decide"), "congrad_jobs_ended_total", status="200") == 1)
    assert parsed(watched.metrics("decide"))["process_start_time_seconds"] != started
