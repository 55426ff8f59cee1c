"""Parts of stacks, forked from a process that has imported the libraries: their import is most of what the start of a
stack costs, and tests start many.

What is forked does what a fresh interpreter does: it imports the project, reads its settings, and runs its module as a
script with arguments, environment, streams and a session of its own. So is the process forked that Celery has a worker
spawn: it is a child of the worker, and gets what was pickled for it.
"""

import atexit
import ctypes
import fcntl
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any

MODULES = ("congrad_service", "congrad_worker")

LIBRARIES = (
    *("celery.bin.celery", "celery.concurrency.prefork", "kombu.transport.redis", "redis.asyncio", "prometheus_client"),
    *("fastapi", "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "httpx", "psutil", "pydantic_settings"),
    *("torch", "safetensors.torch", "peft", "transformers.masking_utils", "transformers.integrations.moe"),
    *("transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama"),
)
"""What parts import that is none of the project. Nothing of the project is: its settings are read when it is."""

LIMIT = 1 << 17
"""Bytes of a message, which is mostly an environment."""

ADOPTED_S = 30
"""How long a process may take to become the child of the one that asked for it, which is a moment."""

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
"""From <linux/prctl.h>."""

SPAWNED = b"spawn_main"
"""The name of a process that Celery has a worker spawn: its command line is that of all forks."""


@dataclass(frozen=True)
class Asked:
    """A process to be.

    :param module: what it runs; None if ``code`` is what it runs.
    :param parent: whose child it is.
    :param numbers: of its descriptors, in the order in which they are sent.
    :param session: whether it leads one.
    :param orphaned: the signal that it gets when its parent ends; 0 for none.
    """

    module: str | None
    code: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    parent: int
    numbers: Sequence[int]
    session: bool
    orphaned: int


class Forked:
    """A child of this process that was forked elsewhere, as `subprocess.Popen` has one."""

    def __init__(self, pid: int, arguments: Sequence[str]):
        self.pid = pid
        self._arguments = arguments
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """:raises subprocess.TimeoutExpired: it runs for longer than ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self._arguments, timeout)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Forks:
    """The process that forks, from the first part on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def popen(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: IO[bytes] | None,
        preexec_fn: "partial[None] | None",
        **options: Any,
    ) -> "Forked | subprocess.Popen[bytes]":
        """What parts call `subprocess.Popen` for, here and in `chaos`. Other programs than theirs start as ever."""
        if sys.platform != "linux" or command[:2] != [sys.executable, "-m"] or command[2] not in MODULES:
            return subprocess.Popen(command, env=env, stdout=stdout, preexec_fn=preexec_fn, **options)
        assert preexec_fn is not None
        (orphaned,) = preexec_fn.args
        asked = Asked(command[2], "", command[3:], env, str(Path.cwd()), os.getpid(), (0, 1, 2), True, orphaned)
        with self._lock, Path(os.devnull).open("rb") as nothing:
            written = (1, 2) if stdout is None else (stdout.fileno(), stdout.fileno())
            return Forked(_fork_from(self._started(), asked, [nothing.fileno(), *written]), command)

    def _started(self) -> socket.socket:
        if self._connection is None:
            self._connection, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            number = there.fileno()
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(number)], pass_fds=[number], start_new_session=True
            )
            there.close()
            atexit.register(self._end)
        return self._connection

    def _end(self) -> None:
        assert self._connection is not None
        assert self._process is not None
        self._connection.close()  # at which it ends
        self._process.wait()


forks = Forks()
"""Of this process."""


def _fork_from(connection: socket.socket, asked: Asked, descriptors: Sequence[int]) -> int:
    """Has the process at the other end fork a child of this one; its pid.

    What it forks forks again and ends, and Linux gives orphans to the next ancestor that takes them. That is this
    process, for as long as that lasts: afterwards it takes none, as it would not if it had forked itself.
    """
    _takes_orphans(True)
    try:
        socket.send_fds(connection, [json.dumps(asdict(asked)).encode()], descriptors)
        return int(connection.recv(LIMIT))
    finally:
        _takes_orphans(False)


def _takes_orphans(taken: bool) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(taken), 0, 0, 0)


def serve(connection: socket.socket) -> None:
    """Forks what each message asks for, until the other end has ended."""
    while True:
        message, descriptors, *_ = socket.recv_fds(connection, LIMIT, 64)
        if not message:
            return
        if (between := os.fork()) == 0:
            if os.fork():
                os._exit(0)
            _become(Asked(**json.loads(message)), connection, descriptors)
            sys.exit()
        os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(asked: Asked, connection: socket.socket, descriptors: Sequence[int]) -> None:
    """Ends by the exception with which a program ends its interpreter."""
    until = time.monotonic() + ADOPTED_S
    while os.getppid() != asked.parent:
        if time.monotonic() > until:
            os._exit(1)  # whoever asked has died meanwhile
        time.sleep(0.001)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, asked.orphaned)
    if asked.session:
        os.setsid()
    connection.send(str(os.getpid()).encode())
    connection.close()
    _place(descriptors, asked.numbers)
    os.chdir(asked.folder)
    os.environ.clear()
    os.environ.update(asked.environment)
    tempfile.tempdir = None  # where that is was found out under another environment
    sys.path[0] = asked.folder
    if asked.module is None:
        sys.argv = list(asked.arguments)
        ctypes.CDLL(None).prctl(PR_SET_NAME, SPAWNED)
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(asked.code, vars(main))  # noqa: S102 # what Celery's pool would hand to `python -c`
        return
    if asked.module == "congrad_worker":
        _fork_what_it_spawns()
    sys.argv = [asked.module, *asked.arguments]
    runpy.run_module(asked.module, run_name="__main__", alter_sys=True)


def _place(descriptors: Sequence[int], numbers: Sequence[int]) -> None:
    """Gives descriptors their numbers, of which some may be those of others now."""
    away = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 1 + max(numbers)) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(away, numbers, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _fork_what_it_spawns() -> None:
    """Puts a fork of this process, as it is now, in the place of the interpreter that Celery's pool would start."""
    from billiard import popen_spawn_posix

    connection, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        connection.close()
        serve(there)
        os._exit(0)
    there.close()
    popen_spawn_posix.spawnv_passfds = partial(_spawned, connection)


def _spawned(connection: socket.socket, _: str, command: Sequence[str], descriptors: Sequence[int]) -> int:
    code, argument = command[-2:]
    numbers = [0, 1, 2, *descriptors]
    asked = Asked(None, code, ["-c", argument], dict(os.environ), str(Path.cwd()), os.getpid(), numbers, False, 0)
    return _fork_from(connection, asked, numbers)


if __name__ == "__main__":
    sys.path[0] = ""  # not this folder, whose modules have names that others may have
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"  # as the workers have it, which Celery reads when it is imported
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
