"""A stack whose parts are supervised here: what has ended is started again, whoever ended it."""

import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import cast

import httpx
import redis
from congrad.local.redis_server import configure, free_port
from congrad_service import keys
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.adapters import save_adapter

from chaos.parts import Part, Role

CHECKPOINT = Path(str(files("congrad"))) / "demo_data" / "checkpoint"
"""Not by the support of other tests, which loads torch: this process has to be awake in time."""

ADAPTER = "adapter"
"""The name of one that is published, and taken off again."""

SERVED = (CHECKPOINT.name, f"{CHECKPOINT.name}+{ADAPTER}")
"""The names of what the workers serve, now one and now the other."""

DOWN_S = (0.1, 2.0)
"""How long a part that has ended stays away: at least and at most."""

TICK_S = 0.05
READY_S = 120.0


class SupervisedStack:
    """Redis, gradients workers on the demo checkpoint, a decide worker and the service.

    Redis has its append-only file at ``appendfsync always``. At ``everysec``, the default, it puts a write off while
    the last one is still on its way to the disk, and a kill then loses what it had already said yes to: about a second
    of accepted jobs. The documents say so; a test of the rest has to keep it out.

    :param draw: decides how long parts stay away.
    :param settings: further settings of all parts.
    :param publishes: whether workers may be told to load something else. They import PEFT for it, which takes seconds.
    """

    def __init__(
        self,
        folder: Path,
        draw: random.Random,
        gradients_workers: int,
        settings: Mapping[str, str],
        publishes: bool,
    ):
        self._draw = draw
        redis_port, port = free_port(), free_port()
        config = configure(folder, redis_port)
        file = Path(config.command[1])
        file.write_text(file.read_text().replace("appendfsync everysec", "appendfsync always"))
        self.url = f"http://127.0.0.1:{port}"
        self.redis_url = config.url
        self.redis = redis.Redis.from_url(config.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        self._adapter = save_adapter(CHECKPOINT, folder.resolve() / ADAPTER, scale=1.0)
        environment = {
            **os.environ,
            "CONGRAD_REDIS_URL": config.url,
            "CONGRAD_MODEL": str(CHECKPOINT),
            **({"CONGRAD_MODELS": f"{CHECKPOINT},{self._adapter}"} if publishes else {}),
            "CONGRAD_PORT": str(port),
            "CONGRAD_RESULT_TTL": "86400",  # the check comes when the load has ended
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            **settings,
        }
        worker = [sys.executable, "-m", "congrad_worker"]
        commands = [
            (Role.REDIS, config.command),
            *[(Role.GRADIENTS, [*worker, "gradients"])] * gradients_workers,
            (Role.DECIDE, [*worker, "decide"]),
            (Role.SERVICE, [sys.executable, "-m", "congrad_service"]),
        ]
        self.parts = [
            Part(role, command, environment, folder / f"{number}-{role}.log")
            for number, (role, command) in enumerate(commands)
        ]
        self.ended_by_itself: list[str] = []

    def of(self, role: Role) -> list[Part]:
        """The parts of a role."""
        return [part for part in self.parts if part.role is role]

    @property
    def is_whole(self) -> bool:
        """Whether every part does its work."""
        return all(part.ready is not None for part in self.parts)

    def wait_until_whole(self) -> None:
        """Supervises until every part does its work."""
        self.wait_until(lambda: self.is_whole)

    def wait_until(self, condition: Callable[[], object], seconds: float = READY_S) -> None:
        """Supervises until something holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in {seconds} s: {[p.log.name for p in self.parts if not p.ready]}"
            self.supervise()

    def supervise_for(self, seconds: float) -> None:
        """Supervises for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.supervise()

    def supervise(self) -> None:
        """One round: starts what is due, notes what has ended and what has become ready. Takes a moment."""
        for part in self.parts:
            if part.is_running:
                if part.ready is None and not part.struck and self._is_ready(part):
                    part.ready = time.time()
            elif part.due is None:
                self._has_ended(part)
            elif time.time() >= part.due:
                part.start()
        time.sleep(TICK_S)

    def _has_ended(self, part: Part) -> None:
        if not part.struck:
            self.ended_by_itself.append(f"{part.log.stem} with status {part.process and part.process.returncode}")
        part.unready()
        part.due = time.time() + self._draw.uniform(*DOWN_S)

    def _is_ready(self, part: Part) -> bool:
        try:
            if part.role is Role.REDIS:
                return bool(self.redis.ping())
            if part.role is Role.SERVICE:
                return httpx.get(f"{self.url}/livez", timeout=1).status_code == 200
            return self._is_announced(part)
        except (redis.RedisError, httpx.HTTPError):
            return False

    def _is_announced(self, part: Part) -> bool:
        """Whether the process that a worker has now, and not an earlier one, has said that it works."""
        child = part.child()
        members = cast("list[bytes]", self.redis.zrange(keys.workers(part.role), 0, -1))
        return child is not None and any(re.search(rf"\b{child}\b", member.decode()) for member in members)

    def served(self) -> list[str]:
        """The names of what is served; none where the service is not there to tell."""
        try:
            response = httpx.get(f"{self.url}/checkpoints", timeout=2)
            return [one["name"] for one in response.json()] if response.status_code == 200 else []
        except httpx.HTTPError:
            return []

    def tells(self, path: str, **body: str) -> bool:
        """Whether the service has taken what it was told."""
        try:
            return httpx.post(f"{self.url}{path}", json=body, timeout=2).status_code == 202
        except httpx.HTTPError:
            return False

    def publishes_the_other(self) -> bool:
        """Whether the service has taken it that what is not served takes the place of what is: of only one thing."""
        match self.served():
            case [name]:
                other = {"adapter": str(self._adapter)} if name == CHECKPOINT.name else {"model": str(CHECKPOINT)}
                return self.tells("/checkpoints", **other)
        return False

    def stop(self) -> None:
        """Ends all parts at once."""
        for part in self.parts:
            if part.process is not None:
                part.kill()
                part.process.wait()
        self.redis.close()


@contextmanager
def supervised_stack(
    folder: Path,
    draw: random.Random,
    settings: Mapping[str, str] | None = None,
    gradients_workers: int = 2,
    publishes: bool = True,
) -> Iterator[SupervisedStack]:
    """Starts one, and waits until it works. ``folder`` is for Redis's data and the parts' logs."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = SupervisedStack(folder, draw, gradients_workers, settings or {}, publishes)
    try:
        for part in stack.parts:
            part.start()
        stack.wait_until_whole()
        yield stack
    finally:
        stack.stop()
