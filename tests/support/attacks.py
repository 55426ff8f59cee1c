"""The service as a process of its own, whose memory is measured, and peers that send too much or read too little."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from congrad.local.redis_server import free_port
from congrad_service.edge.server import allow_files

RUN = """
import sys
from congrad_service.edge import limits
for name, _, value in (given.partition("=") for given in sys.argv[1:]):
    setattr(limits, name, type(getattr(limits, name))(float(value)))
from congrad_service.__main__ import main
sys.exit(main())
"""
"""The service with other limits than those that ship: nobody waits for five minutes here."""


class ServiceProcess:
    """A running one."""

    def __init__(self, pid: int, port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self._folder = Path(f"/proc/{pid}")
        self._before = 0.0

    def measure(self) -> None:
        """From now on memory is measured."""
        (self._folder / "clear_refs").write_text("5")  # the peak of before counts no more
        self._before = self._status("VmRSS")

    @property
    def growth(self) -> float:
        """MiB by which it has been larger since then, at its largest."""
        return self._status("VmHWM") - self._before

    @property
    def files(self) -> int:
        """What it has open, connections among it."""
        return len(list((self._folder / "fd").iterdir()))

    def wait_for_files(self, fit: Callable[[int], bool], seconds: float = 60) -> float:
        """Waits until so many are open as should be, and says how long that took."""
        begun = time.monotonic()
        while not fit(self.files) and time.monotonic() - begun < seconds:
            time.sleep(0.02)  # nothing tells of another process's connections
        return time.monotonic() - begun

    def _status(self, name: str) -> float:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


@contextmanager
def service_process(redis_url: str, *limits: str, **settings: object) -> Iterator[ServiceProcess]:
    """Starts one.

    :param limits: as ``NAME=VALUE``, those of `congrad_service.edge.limits` that are to be others.
    """
    port = free_port()
    given = {"redis_url": redis_url, "port": port, **settings}
    environment = os.environ | {f"CONGRAD_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-c", RUN, *limits]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            running = ServiceProcess(process.pid, port)
            while process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    for path in ("/livez", "/directions") * 5:  # what is loaded once is loaded now
                        httpx.get(running.url + path)
                    break
            yield running
        finally:
            process.kill()


class Peer:
    """A connection that sends what it is told to, and reads nothing."""

    def __init__(self, port: int):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little of what it does not read fits here
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)

    def send(self, data: bytes) -> int:
        """How much of it was taken now; -1 where the connection is closed."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    def close(self) -> None:
        """Closes it."""
        self._socket.close()


@contextmanager
def peers(port: int, count: int) -> Iterator[list[Peer]]:
    """Opens so many."""
    allow_files(count)
    found: list[Peer] = []
    try:
        found.extend(Peer(port) for _ in range(count))
        yield found
    finally:
        for peer in found:
            peer.close()
