"""Every response has an id, and so has every line of the log."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad.local.redis_server import free_port
from support.serving import service

TOKEN = {"Authorization": "Bearer secret"}


def ask(redis_url: str, method: str, path: str, headers: dict[str, str], **request: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with service(redis_url, api_key="secret", max_body_bytes=100) as client:
            return await client.request(method, path, headers=headers, **request)

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/livez", {}, b"", 200),
        ("GET", "/directions", {}, b"", 401),
        ("GET", "/directions/unknown", TOKEN, b"", 404),
        ("DELETE", "/livez", TOKEN, b"", 405),
        ("POST", "/filter", TOKEN, b"x" * 101, 413),
        ("POST", "/filter", TOKEN, b"{}", 422),
        ("GET", "/readyz", TOKEN, b"", 503),
    ],
)
def test_every_response_has_the_id_that_the_client_sent_or_a_new_one(
    method: str, path: str, headers: dict[str, str], body: bytes, status: int, redis_url: str
) -> None:
    given = ask(redis_url, method, path, headers | {"X-Request-ID": "run 7/step 3"}, content=body)
    assert (given.status_code, given.headers.get_list("x-request-id")) == (status, ["run 7/step 3"])
    made = [ask(redis_url, method, path, headers, content=body).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(request_id) == 32 for request_id in made)


def test_an_unexpected_error_has_it_too(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(
        "congrad_service.directions.directions.Directions.get", fail
    )  # there is no such error to provoke
    response = ask(redis_url, "GET", "/directions/x", TOKEN | {"X-Request-ID": "a"})
    assert (response.status_code, response.headers.get_list("x-request-id")) == (500, ["a"])
    assert response.headers["content-type"] == "application/problem+json"
    assert "boom" not in response.text


@pytest.mark.parametrize("given", ["", "a" * 129, "a\tb", "é".encode("latin-1")], ids=["", "long", "tab", "latin-1"])
def test_an_id_that_is_no_plain_text_is_replaced(given: str | bytes, redis_url: str) -> None:
    response = ask(redis_url, "GET", "/livez", {"X-Request-ID": given})  # type: ignore[dict-item] # httpx takes bytes
    (request_id,) = response.headers.get_list("x-request-id")
    assert len(request_id) == 32
    assert ask(redis_url, "GET", "/livez", {"X-Request-ID": "a" * 128}).headers["x-request-id"] == "a" * 128


def test_the_log_says_which_request_a_line_is_about(redis_url: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    environment = os.environ | {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_PORT": str(port)}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "congrad_service"]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        transport = httpx.HTTPTransport(retries=8)  # of the connection, at 0.5 s, 1 s, ...: nothing tells
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
            client.get("/directions", headers={"X-Request-ID": "seven"})
            made = client.get("/directions/unknown", headers={"X-Request-ID": "a\tb"}).headers["x-request-id"]
    finally:
        process.terminate()
        process.wait()
    lines = log.read_text().splitlines()
    for said in (
        r'"GET /directions HTTP/1.1" 200 OK, \d+\.\d{3} s \[seven\]',
        rf'"GET /directions/unknown HTTP/1.1" 404 Not Found, \d+\.\d{{3}} s \[{made}\]',
    ):
        assert [line for line in lines if re.search(f"{said}$", line)], lines
    assert all(line.endswith("]") for line in lines), lines
