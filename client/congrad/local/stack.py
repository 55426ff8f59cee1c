"""Redis, workers and the service as processes of one machine: started together, stopped in order."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from congrad.client import Client
from congrad.contract.tokens import new_token
from congrad.errors import CongradError
from congrad.local.data_dir import held, usable
from congrad.local.part import Part, Program, no_interrupt_lost, said_at_the_end
from congrad.local.redis_server import RedisConfig, StartError, configure, free_port, last_words

TICK_S = 0.1

REDIS = "Redis"

RESTARTS = 5
WITHIN_S = 60.0
"""How often a Redis that ends by itself is started again in how long: one that cannot go on ends at once."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StackOptions:
    """What to run. ``environment`` holds further ``CONGRAD_`` settings for all parts."""

    data_dir: Path
    port: int = 8000
    host: str = "127.0.0.1"
    workers: int = 1
    decide_workers: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    """Where the parts write; the terminal if None."""


class StackFailedError(StartError):
    """A part ended by itself. ``status`` is its exit status; what it had to say is on its stderr, or in ``words``."""

    def __init__(self, name: str, status: int, words: str = ""):
        super().__init__(f"the {name} ended by itself, with status {status}{words}")
        self.status = status


class Stack:
    """The running processes, in the order in which they were started. ``environment`` is what all of them have."""

    def __init__(self, url: str, environment: Mapping[str, str], log: IO[bytes] | None):
        self.url = url
        self.environment = environment
        self._log = log
        self._parts: list[Part] = []
        self._restarts: list[float] = []

    def start(self, program: Program) -> None:
        """Starts one part."""
        with no_interrupt_lost():
            self._parts.append(Part(program, self._log))

    def check(self) -> None:
        """:raises StackFailedError: a part has ended."""
        for part in self._parts:
            if (status := part.status) is not None:
                raise self._failure(part, status)

    def _failure(self, part: Part, status: int) -> StackFailedError:
        return StackFailedError(part.name, status, self._words_of(part))

    def _words_of(self, part: Part) -> str:
        """What a part said at its end, where that is in a file."""
        if (own := part.program.log) is not None:
            return f"; see {own}: {last_words(own)}".rstrip(": ")
        if self._log is None:
            return ""
        said = said_at_the_end(Path(self._log.name))
        return "".join(f"\n  {line}" for line in said)

    def wait_until_ready(self, api_key: str | None) -> None:
        """Blocks until the service and its workers are ready.

        :raises StackFailedError: a part ended before that.
        :raises StartError: the service does not say whether they are.
        """
        with Client(self.url, api_key, max_retries=0) as client:
            try:
                while not client.is_ready():
                    self.check()
                    time.sleep(TICK_S)
            except StackFailedError:  # which is a CongradError too
                raise
            except CongradError as error:
                raise StartError(f"the service does not say whether it is ready: {error}") from error

    def wait(self) -> None:
        """Blocks for as long as all parts run. A Redis that ends is started again on the same data: the others wait
        for it.

        :raises StackFailedError: another one has ended, or Redis too often.
        """
        while True:
            for part in self._parts:
                # Asked once: a Redis that ends between two questions would be started again by none of them.
                if (status := part.status) is not None:
                    self._revive(part, status)
            time.sleep(TICK_S * 5)

    def _revive(self, part: Part, status: int) -> None:
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < WITHIN_S]
        if part.name != REDIS or len(self._restarts) >= RESTARTS:
            raise self._failure(part, status)
        log.warning("the Redis ended by itself, with status %s, and is started again", status)
        with no_interrupt_lost():
            part.start_again()
        self._restarts.append(now)

    def kill_all_but_redis(self) -> None:
        """Ends the other parts at once, with the processes that they have started."""
        for part in self._parts:
            if part.name != REDIS:
                part.kill()

    def stop(self) -> None:
        """Stops the parts, last started first: the service answers, the workers give back, Redis writes its file."""
        for part in reversed(self._parts):
            part.stop()


def _visible_gpu(worker: int, workers: int) -> dict[str, str]:
    """One GPU for each of several workers; a worker takes the first one that it sees."""
    if workers == 1:
        return {}
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = given.split(",") if given else [str(number) for number in range(workers)]
    return {"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]}


def _metrics_port(environment: Mapping[str, str], worker: int) -> dict[str, str]:
    """A port for the metrics of each worker: what is set is that of the first, and the others have the next ones."""
    first = environment.get("CONGRAD_METRICS_PORT", "")
    return {"CONGRAD_METRICS_PORT": str(int(first) + worker)} if first.isdecimal() else {}


@contextmanager
def running_stack(options: StackOptions) -> Iterator[Stack]:
    """Redis, ``workers`` gradients workers, ``decide_workers`` that decide and the service, ready for requests.

    :raises StartError: something that is needed is missing, or a part ended while it started.
    """
    _check_installed()
    _check_port(options.host, options.port)
    redis_port = free_port()
    port = options.port or free_port()
    with held(options.data_dir) as lock, _log_file(options.log) as log:
        with usable(options.data_dir):
            redis = configure(options.data_dir, redis_port)
        environment = _environment(options, redis.url, port)
        stack = Stack(f"http://{options.host}:{port}", environment, log)
        ready = False
        try:
            stack.start(redis_program(redis, environment, lock))
            _start_workers(stack, options.workers, options.decide_workers)
            stack.start(Program("service", [sys.executable, "-m", "congrad_service"], environment))
            stack.wait_until_ready(environment.get("CONGRAD_API_KEY"))
            ready = True
            yield stack
        finally:
            if not ready:
                # Celery answers SIGTERM with a traceback while it starts. What it may have taken by then comes back.
                stack.kill_all_but_redis()
            stack.stop()


def redis_program(redis: RedisConfig, environment: Mapping[str, str], lock: int) -> Program:
    """What runs Redis: its files are its user's alone, and while it runs nobody else takes its folder."""
    orphaned = signal.SIGTERM  # it writes its file first
    return Program(REDIS, redis.command, environment, orphaned, umask=0o077, inherits=(lock,), log=redis.log)


def _start_workers(stack: Stack, count: int, deciding: int) -> None:
    environment = stack.environment
    threads = _thread_limits(count) | dict(environment)  # what is set wins
    for number in range(count):
        own = threads | _visible_gpu(number, count) | _metrics_port(environment, number)
        stack.start(Program("gradients worker", [sys.executable, "-m", "congrad_worker", "gradients"], own))
    alone = {**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for number in range(count, count + deciding):
        own = alone | _metrics_port(environment, number)
        stack.start(Program("decide worker", [sys.executable, "-m", "congrad_worker", "decide"], own))


def _environment(options: StackOptions, redis_url: str, port: int) -> dict[str, str]:
    given = {**os.environ, **options.environment}
    # The stack asks whether its service is ready: it has digests of a file's tokens, and its own host.
    if (given.get("CONGRAD_API_KEYS_FILE") or given.get("CONGRAD_READ_KEY")) and not given.get("CONGRAD_API_KEY"):
        given["CONGRAD_API_KEY"] = new_token()
    if hosts := given.get("CONGRAD_TRUSTED_HOSTS"):
        given["CONGRAD_TRUSTED_HOSTS"] = f"{hosts},{options.host}"
    return {
        **given,
        "CONGRAD_REDIS_URL": redis_url,
        "CONGRAD_BROKER_URL": redis_url,
        "CONGRAD_HOST": options.host,
        "CONGRAD_PORT": str(port),
    }


def _cores() -> int:
    # Linux knows how many this process may use; other systems do not tell.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _thread_limits(workers: int) -> dict[str, str]:
    """Threads of a gradients worker on a CPU, where the environment says nothing of them. OpenMP's threads spin while
    they wait unless told not to, and spinning beside other processes on the same cores was seen to make a batch eight
    times slower."""
    return {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(max(1, _cores() // workers))}


def _check_installed() -> None:
    missing = [name for name in ("fastapi", "celery", "redis", "torch", "transformers", "peft") if not find_spec(name)]
    if missing:
        raise StartError(f"{', '.join(missing)} not installed; install them with: pip install 'congrad-filter[all]'")


def _check_port(host: str, port: int) -> None:
    """:raises StartError: somebody else listens there, and would be taken for the service."""
    with socket.socket() as probe:
        # As the service does: what an earlier one left behind in TIME_WAIT is no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(f"port {port} cannot be had on {host} ({error.strerror}); choose another") from error


@contextmanager
def _log_file(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
    else:
        with path.open("wb") as file:
            yield file
