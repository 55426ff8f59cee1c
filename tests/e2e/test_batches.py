"""Requests of many clients that wait at the same time, in a real worker."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from congrad.local.stack import Stack
from support.pairs import demo_samples

CLIENTS = 64


def test_requests_that_wait_behind_another_share_a_few_batches(stack: Stack, stack_log: Path) -> None:
    rows = demo_samples()
    offset = stack_log.stat().st_size
    with httpx.Client(base_url=stack.url, timeout=120, limits=httpx.Limits(max_connections=CLIENTS)) as http:
        busy = {"samples": rows[:40], "update": False}
        http.post("/filter", json=busy, headers={"Prefer": "respond-async"}).raise_for_status()

        def ask(number: int) -> httpx.Response:
            body = {"samples": [rows[number % len(rows)]], "update": False}
            return http.post("/filter", json=body, headers={"Prefer": "wait=60"})

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(ask, range(CLIENTS)))
    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    with stack_log.open() as log:
        log.seek(offset)
        said = log.read()
    batches = [int(count) for count in re.findall(r"computed_tokens \d+, together (\d+)", said)]
    alone = said.count("computed_tokens") - len(batches)
    assert sum(batches) >= CLIENTS / 2
    assert len(batches) + alone <= CLIENTS / 3
