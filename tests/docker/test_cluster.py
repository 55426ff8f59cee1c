"""The manifests of `deploy/kubernetes` as containers, with their environment, network rules and probes: workers come
and go with the work, and everything is replaced under load without a request that fails.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad.client import Client
from congrad.protocol.options import CONCURRENCY
from congrad_service import keys
from support.autoscaler import SYNC_S, Autoscaler
from support.cluster.running import RunningCluster, running_cluster
from support.containers import READY_S, docker_build, wait_until
from support.metrics import value
from support.models import DEMO_CHECKPOINT
from support.pairs import copies, demo_samples

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400), pytest.mark.usefixtures("built")]

MOST = 2
CLIENTS = 4


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The cluster, on the images that there are: `built` makes them."""
    if os.geteuid() or not shutil.which("nsenter"):
        pytest.skip("network policies take root and `nsenter`")
    models = tmp_path_factory.mktemp("models")
    models.chmod(0o755)
    _copy(DEMO_CHECKPOINT, models / "round-1")
    with running_cluster(models, MOST) as cluster:
        yield cluster


def _copy(source: Path, target: Path) -> None:
    target.mkdir(mode=0o755)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
        (target / path.name).chmod(0o644)


@dataclass
class Load:
    """Clients that filter two pairs at a time, each request after the other, and try nothing again."""

    url: str
    api_key: str
    direction: str
    answered: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients = [self._pool.submit(self._ask, number) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def wait_for(self, more: int) -> None:
        """Blocks until so many more requests have been answered."""
        enough = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= enough or bool(self.failed), "requests are answered")

    def _ask(self, client: int) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}", "Prefer": "wait=100"}
        pairs = demo_samples("de", "fr", each=1)
        number = 0
        with httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False) as http:
            while not self._over.is_set():
                number += 1
                samples = [pair | {"prompt": f"{pair['prompt']} {client} {number}"} for pair in pairs]
                begun = time.monotonic()
                try:
                    response = http.post("/filter", json={"samples": samples, "direction": self.direction})
                    self._wait_on(http, response.raise_for_status())
                    self.answered.append(time.monotonic() - begun)
                except (httpx.HTTPError, AssertionError) as error:
                    self.failed.append(repr(error))

    def _wait_on(self, http: httpx.Client, response: httpx.Response) -> None:
        """Until a job has succeeded whose answer did not come with the request: a service that ends waits for none."""
        if response.status_code == httpx.codes.ACCEPTED:
            job = str(response.json()["id"])
            wait_until(lambda: done(http, job), "the job is done")


def client_of(running: RunningCluster) -> httpx.Client:
    headers = {"Authorization": f"Bearer {running.api_key}"}
    return httpx.Client(base_url=running.ingress.url, headers=headers, timeout=60, trust_env=False)


def test_nothing_goes_in_or_out_but_what_the_policies_say(running: RunningCluster) -> None:
    service, worker = running.service.pods[0], running.gradients.pods[0]
    redis = running.redis.address
    assert service.reaches(redis, 6379)
    assert worker.reaches(redis, 6379)
    for pod, address, port in (
        (worker, service.address, 8000),
        (service, worker.address, 9464),
        (worker, running.ingress.address, 80),
        (service, running.ingress.address, 80),
    ):
        assert not pod.reaches(address, port), f"{pod.name} reaches {address}:{port}"
    for address, port in ((service.address, 8000), (worker.address, 9464)):
        assert not running.stranger_reaches(address, port)


def test_everything_is_replaced_under_load_and_no_request_fails(running: RunningCluster) -> None:
    for image in ("congrad-service", "congrad-worker:cpu"):
        docker_build(next_of(image), f"FROM {image}\nLABEL congrad.next=true\n")
    with Load(running.ingress.url, running.api_key, "rolled") as load:
        load.wait_for(CLIENTS)
        for name, deployment, image in (
            ("service", running.service, "congrad-service"),
            ("decide", running.decide, "congrad-worker:cpu"),
            ("gradients", running.gradients, "congrad-worker:cpu"),
        ):
            before, begun = len(load.answered), time.monotonic()
            deployment.roll(next_of(image))
            assert {pod.image for pod in deployment.pods} == {next_of(image)}
            answered = len(load.answered) - before
            print(f"{name}: {len(deployment.pods)} replaced in {time.monotonic() - begun:.0f} s, {answered} answers")
            load.wait_for(2 * CLIENTS)
    print(f"{len(load.answered)} requests answered, {len(load.failed)} failed; slowest {max(load.answered):.1f} s")
    assert load.failed == []
    with client_of(running) as http:
        languages = http.get("/directions/rolled").raise_for_status().json()["languages"]
    assert {tag: of["samples"] for tag, of in languages.items()} == dict.fromkeys(("de", "fr"), len(load.answered))


def next_of(image: str) -> str:
    return f"{image.partition(':')[0]}:next"


def test_workers_come_and_go_with_the_work_that_there_is(running: RunningCluster) -> None:
    with client_of(running) as http:
        (served,) = http.get("/checkpoints").raise_for_status().json()
        spec: dict[str, Any] = running.cluster.of("ScaledObject")[0]["spec"]
        scaler, seen, now = Autoscaler(spec, replicas=1), [1], 0

        def step() -> int:
            """One look of the autoscaler, and what it does. The next is 15 s later to it, and half a second here: its
            rules count in quarters of an hour."""
            nonlocal now
            replicas = scaler.at(now, work(http, served["fingerprint"]))
            now += SYNC_S
            if replicas != seen[-1]:
                print(f"at {now / 60:.0f} min of the autoscaler's: {seen[-1]} -> {replicas} workers")
                running.gradients.scale(replicas)
                seen.append(replicas)
            return replicas

        wait_until(lambda: step() == 0, "no work, no worker")
        running.gradients.rest()
        wait_until(lambda: http.get("/checkpoints").json()[0]["workers"] == 0, "the service knows that nobody is there")
        jobs = [submitted(http, number) for number in range(24)]
        length = int(running.redis.cli("zcard", keys.unfinished(served["fingerprint"])))
        assert work(http, served["fingerprint"]) == length == len(jobs), "what KEDA counts in Redis"
        wait_until(lambda: step() == MOST, "as many workers as may be")
        wait_until(lambda: step() > 0 and all(done(http, job) for job in jobs), "all jobs are done")
        wait_until(lambda: step() == 0, "no work, no worker")
        running.gradients.rest()
    assert seen == [1, 0, 1, 2, 1, 0]


def test_a_failover_of_redis_is_waited_for_and_no_part_is_started_again(running: RunningCluster) -> None:
    pods = [*running.service.pods, *running.decide.pods]
    running.gradients.scale(1)
    running.gradients.settle()
    before = running.redis.master
    with Client(running.ingress.url, running.api_key, max_downtime=READY_S) as client:
        answers = client.filter_batches(copies(10), direction="failover", batch_size=8)
        decided = list(next(answers).decisions)
        begun = time.monotonic()
        running.redis.kill_master()
        decided += next(answers).decisions
        print(f"a batch was answered {time.monotonic() - begun:.1f} s after the master was killed")
        decided += [decision for answer in answers for decision in answer.decisions]
        languages = client.directions.get("failover").languages
    assert running.redis.master != before
    assert len(decided) == len(copies(10))
    assert all(decision.conflict_score is not None for decision in decided[100:])
    folded = sum(language.samples for language in languages.values())
    print(f"{len(decided)} pairs decided, {folded} of them in the direction")
    assert len(decided) - 8 * CONCURRENCY <= folded <= len(decided), "what the replica had not been told is lost"
    assert all(pod.is_running for pod in pods)


def work(http: httpx.Client, fingerprint: str) -> int:
    """The number that KEDA's trigger asks Prometheus for."""
    return int(value(http.get("/metrics").raise_for_status().text, "congrad_queue_work", fingerprint=fingerprint))


def submitted(http: httpx.Client, number: int) -> str:
    pairs = demo_samples("de", "fr", each=16)
    samples = [pair | {"prompt": f"{pair['prompt']} ({number})"} for pair in pairs]
    body = {"samples": samples, "direction": "scaled"}
    answer = http.post("/filter", json=body, headers={"Prefer": "respond-async"}).raise_for_status()
    assert answer.status_code == httpx.codes.ACCEPTED
    return str(answer.json()["id"])


def done(http: httpx.Client, job: str) -> bool:
    status = http.get(f"/jobs/{job}").raise_for_status().json()["status"]
    assert status in ("queued", "running", "succeeded")
    return bool(status == "succeeded")
