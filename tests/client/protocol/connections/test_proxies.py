"""The way to a service on this machine leads past every proxy, as a token goes along."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from congrad import AsyncClient, Client
from congrad.commands.app import app
from congrad.commands.terminal.probe import Probe
from congrad.protocol.connections.proxies import is_this_machine, proxy_for
from typer.testing import CliRunner

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


class Ready(BaseHTTPRequestHandler):
    """Answers as a service that is ready."""

    def do_GET(self) -> None:
        content = b'{"status": "ready"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """A service on loopback."""
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A proxy that the environment names, and that answers nobody; whoever comes is seen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for name in VARIABLES:
            monkeypatch.setenv(name, "http://{}:{}".format(*listener.getsockname()))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield listener


def is_left_alone(proxy: socket.socket) -> bool:
    try:
        proxy.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_the_clients_and_the_probe_of_the_commands_do_not_ask_a_proxy_for_this_machine(
    url: str, proxy: socket.socket
) -> None:
    with Client(url, "secret", max_retries=0) as client:
        assert client.is_ready()

    async def ask() -> bool:
        async with AsyncClient(url, "secret", max_retries=0) as client:
            return await client.is_ready()

    assert asyncio.run(ask())
    with closing(Probe(url, "secret")) as probe:
        assert probe.get("/readyz").status == 200
    assert is_left_alone(proxy)


@pytest.mark.parametrize("scheme", ["socks5", "gopher"])
def test_a_proxy_that_cannot_be_used_is_no_matter_to_who_goes_past_it(
    scheme: str, url: str, proxy: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, f"{scheme}://127.0.0.1:9")
    test_the_clients_and_the_probe_of_the_commands_do_not_ask_a_proxy_for_this_machine(url, proxy)


def test_other_machines_are_asked_through_it(proxy: socket.socket) -> None:
    with Client("http://filter.example", "secret", max_retries=0, timeout=0.5) as client:
        assert not client.is_ready()
    assert not is_left_alone(proxy)


def test_networks_that_go_past_proxies_do(proxy: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "http://{}:{}".format(*proxy.getsockname())
    assert proxy_for("http://192.0.2.7:8000") == address
    monkeypatch.setenv("NO_PROXY", "example.com, 192.0.2.0/24,no/network")
    assert proxy_for("http://192.0.2.7:8000") is None
    assert proxy_for("http://filter.example.com") is None
    assert proxy_for("http://198.51.100.1") == address
    with Client("http://192.0.2.7:1", "secret", max_retries=0, timeout=0.1) as client:
        assert not client.is_ready()
    assert is_left_alone(proxy)


def test_a_proxy_that_needs_another_package_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    done = CliRunner().invoke(app, ["status", "--url", "http://filter.example"])
    assert done.exit_code == 2
    assert "congrad: the environment names a proxy that cannot be used: " in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "congrad.localhost", "0.0.0.0"])  # noqa: S104
def test_these_are_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.example", "example.com", "", "2001:db8::1"])
def test_and_these_are_not(host: str) -> None:
    assert not is_this_machine(host)
