"""Clients that post small requests, one after the other, and remember what was accepted.

Plain HTTP with a rule of their own for trying again, so that every answer is seen.
"""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
from congrad.local.demo import demo_pairs

from chaos.stack import SERVED

CLIENTS = 6
DIRECTIONS = (("a", "b"), ("c",))
"""Of the first checkpoint, and of the other. Half of the clients ask for the one, and half for the other."""
PAIRS = (1, 8)
"""Of one request: at least and at most."""

SHARED = 60
"""Pairs that all clients post again and again, to whatever direction: also twice in a request, and two at a time."""

OFTEN = 0.3
"""The share of all pairs that are of these."""

RETAINED = 0.5
"""The share of requests whose gradients are kept, where any are."""

PAUSE_S = 0.3
"""The most that a client pauses between two tries, and, unless it is told otherwise, between two requests."""

TRY_AGAIN = (429, 503)
"""What the service may answer while a part is away; anything else is for good."""


@dataclass(frozen=True)
class Request:
    """One request; ``key`` is its Idempotency-Key, and ``retain`` whether its gradients are kept."""

    key: str
    direction: str
    checkpoint: str
    samples: list[dict[str, Any]]
    retain: bool

    @property
    def body(self) -> dict[str, Any]:
        """What is posted."""
        about = {"direction": self.direction, "checkpoint": self.checkpoint, "update": True, "retain": self.retain}
        return {"samples": self.samples, **about}


@dataclass
class Sent:
    """What has come of a request: the job that was accepted for it, and that job once it had ended."""

    request: Request
    job_id: str | None = None
    job: dict[str, Any] | None = None
    wrong: list[str] = field(default_factory=list)


class Load:
    """The clients of one run.

    :param url: of the service.
    :param seed: decides what is sent.
    :param retain: whether the gradients of some requests are kept.
    :param pause: the most seconds that a client pauses between two requests.
    """

    def __init__(self, url: str, seed: int, retain: bool, pause: float = PAUSE_S):
        self._url = url
        self._pause = pause
        self._seed = seed
        self._retain = retain
        self._no_more = threading.Event()
        self._give_up = threading.Event()
        self._futures: list[Future[list[Sent]]] = []
        self._pool = ThreadPoolExecutor(CLIENTS, thread_name_prefix="client")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts the clients; at the end, whatever they wait for, they stop."""
        with self._pool:
            self._futures = [self._pool.submit(self._client, number) for number in range(CLIENTS)]
            try:
                yield
            finally:
                self._no_more.set()
                self._give_up.set()

    def stop_sending(self) -> None:
        """No new requests; those under way are waited for."""
        self._no_more.set()

    @property
    def is_done(self) -> bool:
        """Whether all that was sent has ended."""
        return all(future.done() for future in self._futures)

    def sent(self) -> list[Sent]:
        """All requests, after the clients have stopped."""
        return [sent for future in self._futures for sent in future.result()]

    def _client(self, number: int) -> list[Sent]:
        draw = random.Random(f"{self._seed}/{number}")  # noqa: S311 # not a secret
        sent: list[Sent] = []
        with httpx.Client(base_url=self._url, timeout=httpx.Timeout(15, connect=2)) as http:
            while not self._no_more.is_set():
                key = f"{self._seed}/{number}/{len(sent)}"
                sent.append(Sent(_request(draw, key, number % 2, self._retain)))
                _Conversation(http, draw, sent[-1], self._give_up).run()
                self._no_more.wait(draw.uniform(0, self._pause))
        return sent


class _Conversation:
    """One request, from the first try to the end of its job."""

    def __init__(self, http: httpx.Client, draw: random.Random, sent: Sent, give_up: threading.Event):
        self._http = http
        self._draw = draw
        self._sent = sent
        self._give_up = give_up
        self._prefer = draw.choice(["respond-async", "wait=1", "wait=10"])

    def run(self) -> None:
        accepted = self._post()
        if accepted is None:
            return
        self._sent.job_id = accepted
        while (response := self._ask("GET", f"/jobs/{accepted}", {"Prefer": "wait=5"})) is not None:
            if response.status_code != 200:
                self._sent.wrong.append(f"the accepted job is answered with {response.status_code}: {response.text}")
                return
            job = response.json()
            if job["status"] not in ("queued", "running"):
                self._sent.job = job
                break
        if self._draw.random() < 0.1 and (again := self._post()) not in (None, accepted):
            self._sent.wrong.append(f"job {accepted} and then job {again} were made of one Idempotency-Key")

    def _post(self) -> str | None:
        """The id of the job that was accepted; None if the run is over before there is one."""
        headers = {"Prefer": self._prefer, "Idempotency-Key": self._sent.request.key}
        response = self._ask("POST", "/filter", headers, json=self._sent.request.body)
        if response is None:
            return None
        if response.status_code not in (200, 202):
            self._sent.wrong.append(f"refused with {response.status_code}: {response.text}")
            return None
        found: str = response.json()["job_id" if response.status_code == 200 else "id"]
        return found

    def _ask(self, method: str, path: str, headers: dict[str, str], **body: Any) -> httpx.Response | None:
        """The first answer that is not a fault of the moment."""
        while not self._give_up.is_set():
            try:
                response = self._http.request(method, path, headers=headers, **body)
            except httpx.TransportError:
                response = None
            if response is not None and response.status_code not in TRY_AGAIN:
                return response
            self._give_up.wait(self._draw.uniform(0.05, PAUSE_S))
        return None


def _request(draw: random.Random, key: str, which: int, retain: bool) -> Request:
    """:param which: of the checkpoints it asks for."""
    rows = draw.sample(_short_pairs(), draw.randint(*PAIRS))
    samples = [
        _shared(draw.randrange(SHARED)) if draw.random() < OFTEN else row | {"prompt": f"{key}/{i} {row['prompt']}"}
        for i, row in enumerate(rows)
    ]
    numbered = [{"id": str(i), **row} for i, row in enumerate(samples)]
    kept = retain and draw.random() < RETAINED
    return Request(key, draw.choice(DIRECTIONS[which]), SERVED[which], numbered, kept)


def _shared(number: int) -> dict[str, Any]:
    rows = _short_pairs()
    row = rows[number % len(rows)]
    return row | {"prompt": f"shared/{number} {row['prompt']}"}


@cache
def _short_pairs() -> list[dict[str, Any]]:
    rows = [row for row in demo_pairs() if len(row["prompt"]) + len(row["chosen"]) < 120]
    texts = [("prompt", 30), ("chosen", 30), ("rejected", 20)]
    return [{"language": row["language"], **{name: row[name][:length] for name, length in texts}} for row in rows]
