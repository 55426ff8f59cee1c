"""Who waits for whom: a request of one sample beside a job of thousands, and two teams beside each other."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from congrad.contract.tokens import Role, TokenEntry, digest
from congrad.local.stack import StackOptions, running_stack

TEAMS = ("one", "other")
LARGE = 4_096
SMALL, JOBS = 256, 16
"""As many samples in all, in other portions."""
CHUNK_TOKENS = 4_096
SEEN_CHUNKS = 6
TICK_S = 0.02

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Turns:
    """Seconds of a chunk of the large job, and of requests of one sample by another team, alone and beside it; and the
    samples that two teams got computed at the same time, one in one job and the other in several."""

    chunk_s: float
    alone: list[float]
    beside: list[float]
    shares: tuple[float, float]


def measure(folder: Path, model: Path, rows: Sequence[Row], seconds: float) -> Turns:
    """On a stack of its own, in ``folder``."""
    folder.mkdir()
    tokens = folder / "tokens.toml"
    entries = [TokenEntry(name=team, role=Role.FILTER, team=team, sha256=digest(team.encode())) for team in TEAMS]
    tokens.write_text("\n\n".join(entry.toml() for entry in entries))
    tokens.chmod(0o600)
    environment = {
        "CONGRAD_MODEL": str(model),
        "CONGRAD_API_KEYS_FILE": str(tokens),
        "CONGRAD_CHUNK_TOKENS": str(CHUNK_TOKENS),
    }
    options = StackOptions(folder / "data", port=0, environment=environment, log=folder / "log")
    with running_stack(options) as stack, ExitStack() as opened:
        one, other = (opened.enter_context(_client(stack.url, team)) for team in TEAMS)
        _posted(other, rows, seconds / 10)  # connections, and what is only done once
        alone = _posted(other, rows, seconds / 10)
        large = _submit(one, rows, LARGE)
        chunk_s = _chunk_s(one, large)
        beside = _posted(other, rows, seconds)
        one.delete(f"/jobs/{large}")
        return Turns(chunk_s, alone, beside, _shares(one, other, rows, seconds))


def _client(url: str, team: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {team}"}, timeout=300)


def _posted(http: httpx.Client, rows: Sequence[Row], seconds: float) -> list[float]:
    """One request of one sample after the other: the seconds of each."""
    taken, end = [], time.perf_counter() + seconds
    for row in cycle(rows):
        begun = time.perf_counter()
        if begun > end:
            break
        http.post("/filter", json={"samples": [row]}, headers={"Prefer": "wait=280"}).raise_for_status()
        taken.append(time.perf_counter() - begun)
    return taken


def _submit(http: httpx.Client, rows: Sequence[Row], samples: int) -> str:
    body = {"samples": list(islice(cycle(rows), samples)), "direction": "large"}
    answer = http.post("/filter", json=body, headers={"Prefer": "respond-async"}).raise_for_status()
    return str(answer.json()["id"])


def _progress(http: httpx.Client, job_id: str) -> tuple[int, int]:
    progress = http.get(f"/jobs/{job_id}").raise_for_status().json()["progress"]
    return progress["done"], progress["total"]


def _chunk_s(http: httpx.Client, job_id: str) -> float:
    """From the end of a chunk to that of the next."""
    ends: list[float] = []
    while len(ends) < SEEN_CHUNKS:
        if _progress(http, job_id)[0] > len(ends):
            ends.append(time.perf_counter())
        time.sleep(TICK_S)
    return median(later - earlier for earlier, later in pairwise(ends))


def _shares(one: httpx.Client, other: httpx.Client, rows: Sequence[Row], seconds: float) -> tuple[float, float]:
    """Samples whose gradients each of the two got."""
    large = [_submit(one, rows, LARGE)]
    small = [_submit(other, rows, SMALL) for _ in range(JOBS)]
    before = _done(one, large, LARGE), _done(other, small, SMALL)
    time.sleep(seconds)
    after = _done(one, large, LARGE), _done(other, small, SMALL)
    return after[0] - before[0], after[1] - before[1]


def _done(http: httpx.Client, jobs: Sequence[str], samples: int) -> float:
    return sum(samples * done / total for done, total in (_progress(http, job_id) for job_id in jobs))
