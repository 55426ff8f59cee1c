"""A stack that is measured: Redis, the service and the decide worker of the product, and workers that wait."""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import redis
from congrad.local.part import Program
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import Stack
from congrad_service.jobs.chunks import BYTES_PER_TOKEN
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from benchmarks.processes import kill_half, tree_cpu_s, tree_mib
from benchmarks.scale_runs import TOKENS, Answer, Idle, Killed, Run, Setup

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "service": "congrad_service",
    "workers": "benchmarks.waiting_worker",
    "decide": "congrad_worker\0decide",
    "Redis": "redis-server",
}
"""What stands in the command of the processes of a part."""

RECOVERED = "congrad_work_recovered_total"
LOOK_S = 0.25

Asked = tuple[Answer, dict[str, float]]
"""A request, and what its answer tells of its time."""


class Bench:
    """The product's parts, and the workers that a setup asks for. To start one costs more than to measure, so they stay
    for the next setup: in the order of `by_workers`."""

    def __init__(self, folder: Path, **settings: str):
        self._log = (folder / "log").open("wb")
        self._pair_ms = folder / "pair_ms"
        config, port = configure(folder, free_port()), free_port()
        self._environment = {
            **os.environ,
            "CONGRAD_REDIS_URL": config.url,
            "CONGRAD_PORT": str(port),
            "CONGRAD_MAX_BODY_BYTES": str(2**28),
            "CONGRAD_MAX_RETAINED_BYTES": str(2**45),
            "CONGRAD_RESULT_TTL": "60",
            "WAITING_PAIR_MS_FILE": str(self._pair_ms),
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            **settings,
        }
        self._stack = Stack(f"http://127.0.0.1:{port}", self._environment, self._log)
        self._stack.start(Program("Redis", config.command, self._environment))
        for name, *module in (("decide worker", "congrad_worker", "decide"), ("service", "congrad_service")):
            self._stack.start(Program(name, [sys.executable, "-m", *module], self._environment))
        self._redis = redis.Redis.from_url(config.url, retry=Retry(ConstantBackoff(0.05), 200))
        self._workers = Stack(self._stack.url, self._environment, self._log)
        self._served = (0, 0)  # workers, and D
        self._start_cpu_s = 0.0  # of each of those that were started last
        self._directions = (f"scale-{number}" for number in count())

    def close(self) -> None:
        """Stops all of it."""
        self._workers.stop()
        self._stack.stop()
        self._log.close()

    def run(self, setup: Setup, seconds: float) -> Run:
        """As many requests as some clients get through, each one after the other, in so many seconds, or as many as the
        setup says; and the work that it takes, until the last of them has its answer."""
        with self._client() as http:
            ask = self._prepared(setup, http)
            before, start = self._spent(), time.perf_counter()
            with ThreadPoolExecutor(setup.clients) as pool:
                asked = _collected([pool.submit(_client, setup, ask, start, seconds) for _ in range(setup.clients)])
            elapsed = time.perf_counter() - start
            spent = {name: after - before[name] for name, after in self._spent().items()}
        timings = [timing | {"request_s": answer.ended - answer.begun} for answer, timing in asked]
        return Run(setup, elapsed, timings, spent)

    def idle(self, setup: Setup, seconds: float) -> Idle:
        """What so many workers cost that have nothing to do."""
        with self._client() as http:
            self._serve(setup, http)
        before = self._spent()
        time.sleep(seconds)
        spent = {name: after - before[name] for name, after in self._spent().items()}
        return Idle(setup.workers, seconds, spent, tree_mib(COMMANDS["workers"]) / setup.workers, self._start_cpu_s)

    def killed(self, setup: Setup, before_s: float, after_s: float) -> Killed:
        """Requests as in `run`; half of the workers is killed on the way, and none is started in their place."""
        with self._client() as http, ThreadPoolExecutor(setup.clients) as pool:
            ask = self._prepared(setup, http)
            start = time.perf_counter()
            clients = [pool.submit(_client, setup, ask, start, before_s + after_s) for _ in range(setup.clients)]
            time.sleep(before_s)
            recovered = self._recovered(http)
            at, killed = time.perf_counter() - start, kill_half(COMMANDS["workers"])
            sent_again, last = 0, at
            while not all(client.done() for client in clients):
                time.sleep(LOOK_S)
                if (now := self._recovered(http) - recovered) > sent_again:
                    sent_again, last = now, time.perf_counter() - start
            answers = [answer for answer, _ in _collected(clients)]
        self._stop_workers()
        return Killed(setup, killed, at, answers, sent_again, last - at)

    def _prepared(self, setup: Setup, http: httpx.Client) -> Callable[[], dict[str, float]]:
        """What makes one request, of the workers that a setup needs and a direction of its own, which is there."""
        body, direction = request_body(setup), next(self._directions)
        self._serve(setup, http)
        self._pair_ms.write_text("0")
        self._ask(http, setup, body, direction)
        self._pair_ms.write_text(str(setup.pair_ms))
        return lambda: self._ask(http, setup, body, direction)

    def _serve(self, setup: Setup, http: httpx.Client) -> None:
        """Has the workers that a setup needs, and no others, ready to work."""
        if self._served[1] != setup.dim or self._served[0] > setup.workers:
            self._stop_workers()
        new, before = setup.workers - self._served[0], tree_cpu_s(COMMANDS["workers"])
        if new:
            own = {"WAITING_DIM": str(setup.dim), "WAITING_WORKERS": str(new)}
            command = [sys.executable, "-m", "benchmarks.waiting_worker"]
            self._workers.start(Program("workers", command, self._environment | own))
        self._served = (setup.workers, setup.dim)
        while not self._is_whole(http, setup):
            self._workers.check()
            self._stack.check()
            time.sleep(0.1)
        if new:
            self._start_cpu_s = (tree_cpu_s(COMMANDS["workers"]) - before) / new

    def _stop_workers(self) -> None:
        self._workers.stop()
        self._workers = Stack(self._stack.url, self._environment, self._log)
        self._served = (0, 0)

    def _is_whole(self, http: httpx.Client, setup: Setup) -> bool:
        try:
            if http.get("/readyz").status_code != httpx.codes.OK:
                return False
            served = http.get("/checkpoints").json()
            return [(one["workers"], one["projection"]["dim"]) for one in served] == [(setup.workers, setup.dim)]
        except httpx.TransportError:
            return False

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._stack.url, timeout=300, limits=httpx.Limits(max_connections=None))

    def _ask(self, http: httpx.Client, setup: Setup, body: bytes, direction: str) -> dict[str, float]:
        """One request, and where there are two passes the second of it; what the first tells of its time.

        :raises httpx.HTTPStatusError: the service refuses.
        """
        named = body.replace(b"DIRECTION", direction.encode(), 1)
        headers = {"Content-Type": "application/json", "Prefer": "wait=280"}
        answer = http.post("/filter", content=named, headers=headers).raise_for_status().json()
        if setup.passes == 2:
            http.post(f"/jobs/{answer['job_id']}/rescore", json={}, headers=headers).raise_for_status()
        timing: dict[str, float] = answer["timing"]
        return timing

    def _recovered(self, http: httpx.Client) -> int:
        """Pieces of work that were lost and sent again, so far."""
        lines = http.get("/metrics").raise_for_status().text.splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(RECOVERED)))

    def _spent(self) -> dict[str, float]:
        """Processor seconds by part, and bytes and commands of Redis, so far."""
        stats: dict[str, Any] = self._redis.info("stats")
        return {
            **{name: tree_cpu_s(command) for name, command in COMMANDS.items()},
            "client": time.process_time(),
            "bytes": stats["total_net_input_bytes"] + stats["total_net_output_bytes"],
            "commands": stats["total_commands_processed"],
        }


def request_body(setup: Setup) -> bytes:
    """A request with texts of the usual length, in private-use languages (qaa to qtz), as many as are asked for."""
    tags = [f"q{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrstuvwxyz"][: setup.languages]
    texts = {name: name[0] * (TOKENS * BYTES_PER_TOKEN // 4) for name in ("prompt", "chosen", "rejected")}
    samples = [{"language": tags[number % len(tags)], **texts} for number in range(setup.batch)]
    return json.dumps({"direction": "DIRECTION", "retain": setup.passes == 2, "samples": samples}).encode()


def by_workers(setup: Setup) -> tuple[int, int]:
    """Orders setups so that as few workers as can be are started."""
    return setup.workers, setup.dim


def _client(setup: Setup, ask: Callable[[], dict[str, float]], start: float, seconds: float) -> list[Asked]:
    """The requests of one client, one after the other: as many as the setup says, or for so many seconds."""
    taken: list[Asked] = []
    while len(taken) < setup.each if setup.each else time.perf_counter() < start + seconds:
        begun = time.perf_counter() - start
        timing = ask()
        taken.append((Answer(begun, time.perf_counter() - start), timing))
    return taken


def _collected(clients: list["Future[list[Asked]]"]) -> list[Asked]:
    return [asked for client in clients for asked in client.result()]
