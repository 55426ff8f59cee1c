"""Requests through faults of every kind: right decisions, samples folded in exactly once, in time.

Client, service, Redis and workers are real; what stands between client and service is not kind.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import congrad
import pytest
from congrad import AsyncClient, Client, Filtered, Timeouts
from congrad.local.redis_server import free_port
from congrad.local.stack import Stack
from support.faulty_proxy import ALL_FAULTS, Fault, faulty_proxy
from support.pairs import demo_samples

REQUESTS = 16
"""Of one call: faults befall requests, however many samples these have."""

ATTEMPT_S = 2.5
OPTIONS: dict[str, Any] = {"timeout": Timeouts(connect=2, attempt=ATTEMPT_S, total=240), "max_downtime": 120.0}

TELLING = (Fault.DROP_AFTER, Fault.HTML_ERROR, Fault.SHORTENED)
"""Of the faults that may last, those of which nobody can say what became of the request: no answer, none of the
service's, half of one."""


def pairs(count: int) -> list[dict[str, Any]]:
    """Short pairs in many languages, all of them different."""
    rows = [row for row in demo_samples() if len(row["prompt"]) + len(row["chosen"]) < 120]
    return [
        {
            "language": row["language"],
            "prompt": f"{i} {row['prompt'][:20]}",
            "chosen": row["chosen"][:20],
            "rejected": "–",
        }
        for i, row in ((i, rows[i % len(rows)]) for i in range(count))
    ]


def batches(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """How a call asks about them."""
    return {"batch_size": len(samples) // REQUESTS, "concurrency": 4}


def counts(samples: list[dict[str, Any]]) -> dict[str, int]:
    """Samples by language."""
    return dict(Counter(sample["language"] for sample in samples))


def folded(client: Client, direction: str) -> dict[str, int]:
    """Samples by language in a direction."""
    return {tag: language.samples for tag, language in client.directions.get(direction).languages.items()}


@pytest.fixture(scope="module", params=[96, pytest.param(2000, marks=pytest.mark.slow)])
def samples(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return pairs(request.param)


@pytest.fixture(scope="module")
def truth(stack: Stack, samples: list[dict[str, Any]]) -> Iterator[Filtered]:
    """The decisions against a direction of all samples, without any fault on the way."""
    asked = {"direction": f"truth-{len(samples)}", **batches(samples)}
    with Client(stack.url) as client:
        client.filter(samples, **asked)
        yield client.filter(samples, update=False, **asked)


def run(kind: str, url: str, samples: list[dict[str, Any]], **options: Any) -> Filtered:
    """`filter` of one of the two clients."""
    if kind == "sync":
        with Client(url, **OPTIONS) as client:
            return client.filter(samples, **batches(samples), **options)

    async def call() -> Filtered:
        async with AsyncClient(url, **OPTIONS) as client:
            return await client.filter(samples, **batches(samples), **options)

    return asyncio.run(call())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_sample_is_decided_and_folded_in_once(
    kind: str, stack: Stack, client: Client, samples: list[dict[str, Any]]
) -> None:
    direction = f"faulty-{kind}-{len(samples)}"
    with faulty_proxy(stack.url, share=0.5) as proxy:
        found = run(kind, proxy.url, samples, direction=direction)
    assert set(proxy.seen) == set(Fault), "a kind of fault was never drawn"
    assert [d.id for d in found.decisions] == [str(i) for i in range(len(samples))]
    assert [d.language for d in found.decisions] == [sample["language"] for sample in samples]
    assert folded(client, direction) == counts(samples)


def test_decisions_are_those_without_faults(stack: Stack, samples: list[dict[str, Any]], truth: Filtered) -> None:
    with faulty_proxy(stack.url, share=0.5) as proxy:
        found = run("sync", proxy.url, samples, direction=f"truth-{len(samples)}", update=False)
    assert set(proxy.seen) == set(Fault)
    assert found.decisions == truth.decisions


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault in TELLING else [pytest.mark.slow])
        for fault in ALL_FAULTS
        if fault not in (Fault.STALL_BEFORE, Fault.STALL_AFTER)
    ],
)
def test_a_service_that_stays_down_is_an_error_that_names_the_undecided(
    fault: Fault, stack: Stack, client: Client
) -> None:
    some, direction, key = pairs(100), f"down-{fault.name}", f"key-{fault.name}"
    start = time.monotonic()
    with (
        faulty_proxy(stack.url, (fault,), share=0.6, seed=1) as proxy,
        Client(proxy.url, timeout=Timeouts(2, 2, 20), max_retries=0, max_downtime=0.0) as impatient,
        pytest.raises(congrad.CongradError) as caught,
    ):
        impatient.filter(some, direction=direction, batch_size=10, idempotency_key=key)
    assert time.monotonic() - start < 60
    error = caught.value
    assert len(error.decisions) == len(some)
    assert [i for i, decision in enumerate(error.decisions) if decision is None] == list(error.undecided)
    assert error.undecided
    # The same call, once the service is well again, folds in what had not been, and nothing twice.
    whole = client.filter(some, direction=direction, batch_size=10, idempotency_key=key)
    assert len(whole.decisions) == len(some)
    assert folded(client, direction) == counts(some)


def test_no_call_hangs_on_a_service_that_stalls(stack: Stack) -> None:
    start = time.monotonic()
    with (
        faulty_proxy(stack.url, (Fault.STALL_BEFORE, Fault.TRICKLE), share=1.0) as proxy,
        Client(proxy.url, timeout=Timeouts(1, 1, 6), max_downtime=60) as client,
        pytest.raises(congrad.APITimeoutError) as caught,
    ):
        client.filter(pairs(50), batch_size=10)
    assert time.monotonic() - start < 6 + 5
    assert list(caught.value.undecided) == list(range(50))


def test_a_restart_in_mid_run_loses_nothing_and_doubles_nothing(
    stack: Stack, client: Client, samples: list[dict[str, Any]]
) -> None:
    direction, asked = f"restarted-{len(samples)}", batches(samples)
    port = free_port()
    environment = {**stack.environment, "CONGRAD_PORT": str(port)}

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "congrad_service"]
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    service = start()
    try:
        with Client(f"http://127.0.0.1:{port}", **OPTIONS) as connected, ThreadPoolExecutor(1) as pool:
            connected.wait_until_ready(60)
            call = pool.submit(connected.filter, samples, direction=direction, **asked)
            for how in (signal.SIGTERM, signal.SIGKILL):
                before = _total(client, direction)
                while _total(client, direction) < before + 2 * asked["batch_size"]:
                    assert not call.done()
                    time.sleep(0.05)  # a direction tells nobody that it grows
                service.send_signal(how)
                service.wait()
                service = start()
            found = call.result()
    finally:
        os.kill(service.pid, signal.SIGTERM)
        service.wait()
    assert [d.id for d in found.decisions] == [str(i) for i in range(len(samples))]
    assert folded(client, direction) == counts(samples)


def _total(client: Client, direction: str) -> int:
    return sum(sum(row.languages.values()) for row in client.directions.list() if row.name == direction)
