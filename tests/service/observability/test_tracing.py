"""Traces cost nothing where they are off, are no reason not to start, and hold together across processes."""

import os
import subprocess
import sys

import pytest
from congrad import Client
from congrad.local.redis_server import free_port
from support.collector import collector

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import logging, sys; logging.basicConfig()\n{code}"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("module", ["congrad_service.__main__", "congrad_worker.processes.decide_worker"])
def test_without_an_endpoint_there_is_no_exporter_and_no_span(module: str) -> None:
    """redis-py itself loads the SDK where it is installed, and FastAPI the API."""
    done = python(
        f"import {module}; from congrad_service.observability import tracing\n"
        "tracing.begin('x')\n"
        "with tracing.span('a', b=1), tracing.continued(''):\n"
        "    tracing.note(c=1)\n"
        "    assert tracing.carried() == '' and not tracing.ids()\n"
        "tracing.end()\n"
        "print(*sys.modules)"
    )
    loaded = done.stdout.split()
    assert "congrad_service.observability.tracing" in loaded
    assert not [
        name
        for name in loaded
        if name.startswith(("opentelemetry.exporter", "congrad_service.observability.exporting"))
    ]


def test_an_endpoint_without_the_extra_is_a_warning() -> None:
    done = python(
        "sys.modules['opentelemetry.exporter'] = None\n"
        "from congrad_service.observability import tracing\n"
        "tracing.begin('x')\n"
        "print(repr(tracing.carried()), dict(tracing.ids()))",
        **{ENDPOINT: "http://127.0.0.1:1"},
    )
    assert "pip install 'congrad-filter[otel]'" in done.stderr
    assert done.stdout == "'' {}\n"


def test_a_trace_goes_on_where_its_place_is_carried_to() -> None:
    begin = "from congrad_service.observability import tracing; tracing.begin(sys.argv[0])\n"
    with collector() as collecting:
        here = {ENDPOINT: collecting.url}
        first = python(
            f"{begin}with tracing.span('first', job_id='j', none=None): print(tracing.carried())\n"
            "assert not tracing.carried()\n"
            "tracing.end()",
            **here,
        )
        python(
            f"{begin}with tracing.continued({first.stdout.strip()!r}), tracing.span('second'): tracing.note(tokens=7)\n"
            "with tracing.continued(''), tracing.span('alone'): pass\n"
            "tracing.end()",
            **here,
            OTEL_SERVICE_NAME="by another name",
        )
        spans = {span.name: span for span in collecting.wait_for(lambda spans: len(spans) == 3)}
    assert (spans["second"].trace, spans["second"].parent) == (spans["first"].trace, spans["first"].id)
    assert spans["alone"].trace != spans["first"].trace
    assert spans["first"].attributes == {"congrad.job_id": "j"}
    assert spans["second"].attributes == {"congrad.tokens": 7}
    assert (spans["first"].service, spans["second"].service) == ("-c", "by another name")


def test_an_error_is_told_by_its_class_alone() -> None:
    with collector() as collecting:
        python(
            "from congrad_service.observability import tracing; tracing.begin('x')\n"
            "try:\n"
            "    with tracing.span('a'): raise ValueError('a text-marker')\n"
            "except ValueError: pass\n"
            "tracing.end()",
            **{ENDPOINT: collecting.url},
        )
        (span,) = collecting.wait_for(lambda spans: len(spans) == 1)
    assert span.attributes == {"error.type": "ValueError"}
    assert b"text-marker" not in collecting.raw


def test_a_service_that_is_told_to_stop_sends_its_last_spans(redis_url: str) -> None:
    port = free_port()
    with collector() as collecting:
        environment = {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_PORT": str(port), ENDPOINT: collecting.url}
        # So long, that nothing is sent by itself.
        environment |= {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
        process = subprocess.Popen([sys.executable, "-m", "congrad_service"], env={**os.environ, **environment})
        try:
            with Client(f"http://127.0.0.1:{port}", max_retries=9) as client:  # a minute, in which it starts
                assert client.directions.list() == []
        finally:
            process.terminate()
            process.wait(60)
        assert any(span.name == "GET /directions" for span in collecting.spans)


def test_a_worker_that_cannot_start_ends_and_takes_no_tasks(redis_url: str) -> None:
    wrong = {"CONGRAD_REDIS_URL": redis_url, ENDPOINT: "http://127.0.0.1:1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}
    command = [sys.executable, "-m", "congrad_worker", "decide"]
    done = subprocess.run(command, env={**os.environ, **wrong}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "the decide worker cannot start: ValueError" in done.stderr
