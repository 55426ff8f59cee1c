"""Tasks that are delivered more than once, tasks that kill their worker, and workers that are told to stop."""

import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx
import pytest
from celery import Celery
from chaos.check import export
from chaos.parts import Part, Role
from chaos.stack import SupervisedStack, supervised_stack
from congrad_service import keys
from congrad_service.queue.queue import celery_app
from support.jobs import assert_folded_once, ended, job, post
from support.pairs import copies, demo_samples
from support.serving import settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them")

VISIBILITY_S = 5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedStack]:
    """Two gradients workers whose tasks are given to another after five seconds."""
    options = {
        "CONGRAD_VISIBILITY_TIMEOUT": str(VISIBILITY_S),
        "CONGRAD_CHUNK_TOKENS": "10000000",  # one chunk a request
        "CONGRAD_MAX_SAMPLES": "100000",
    }
    folder, draw = tmp_path_factory.mktemp("redelivery"), random.Random(0)  # noqa: S311
    with supervised_stack(folder, draw, options, publishes=False) as running:
        yield running


@pytest.fixture
def whole(stack: SupervisedStack) -> SupervisedStack:
    """The stack, with all parts there whatever the test before has done."""
    stack.wait_until_whole()
    return stack


@pytest.fixture
def http(whole: SupervisedStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=whole.url, timeout=60) as client:
        yield client


@pytest.fixture
def celery(whole: SupervisedStack) -> Iterator[Celery]:
    """Sends tasks past the service."""
    with celery_app("test", settings(whole.redis_url)) as app:
        yield app


@pytest.fixture
def direction() -> str:
    return f"test-{uuid.uuid4().hex}"


def fields(stack: SupervisedStack, job_id: str) -> Mapping[str, str]:
    """What Redis holds of a job."""
    raw = cast("dict[bytes, bytes]", stack.redis.hgetall(keys.job(job_id)))
    return {name.decode(): value.decode() for name, value in raw.items()}


def starts(stack: SupervisedStack, job_id: str) -> int:
    """How often the job's only chunk was started."""
    return int(fields(stack, job_id).get(f"attempts:{keys.gradients_work(0)}", 0))


def at_its_chunk(stack: SupervisedStack, job_id: str) -> str:
    """The id of the worker that has begun with the job's only chunk last."""
    return fields(stack, job_id)[f"by:{keys.gradients_work(0)}"]


def computing(stack: SupervisedStack, job_id: str) -> Part | None:
    """The worker that has the job's only chunk."""
    raw = cast("bytes | None", stack.redis.get(keys.doing(job_id, keys.gradients_work(0))))
    owner = (raw or b"").decode()
    return next((part for part in stack.of(Role.GRADIENTS) if part.child() and str(part.child()) in owner), None)


def tell_its_worker_to_stop(stack: SupervisedStack, job_id: str) -> subprocess.Popen[bytes]:
    """Sends SIGTERM to the worker that computes the job's only chunk. Returns its process: the part gets another."""
    stack.wait_until(lambda: computing(stack, job_id) is not None)
    part = computing(stack, job_id)
    assert part is not None
    assert part.process is not None
    part.terminate()
    return part.process


def send(celery: Celery, stack: SupervisedStack, job_id: str) -> None:
    """The task of the job's only chunk, once more."""
    queue = keys.gradients_queue(fields(stack, job_id)["fingerprint"])
    celery.send_task(keys.GRADIENTS_TASK, args=(job_id, 0), queue=queue)


def is_idle(stack: SupervisedStack, fingerprint: str) -> bool:
    """Whether every task that was sent has been done with."""
    waiting = [stack.redis.llen(queue) for queue in (keys.gradients_queue(fingerprint), keys.DECIDE_QUEUE)]
    return not any(waiting) and not stack.redis.hlen("unacked")


def state(http: httpx.Client, direction: str) -> tuple[Any, dict[str, bytes]]:
    """The direction to the last bit."""
    described = http.get(f"/directions/{direction}").raise_for_status().json()
    vectors = export(http, [direction])[direction]
    return described, {name: vector.tobytes() for name, vector in vectors.items()}


def test_tasks_that_come_after_the_end_change_nothing(
    whole: SupervisedStack, http: httpx.Client, celery: Celery, direction: str
) -> None:
    job_id = post(http, demo_samples(each=2), direction)
    before, vectors = ended(http, whole, job_id), state(http, direction)
    assert before["status"] == "succeeded"
    for _ in range(3):
        send(celery, whole, job_id)
        celery.send_task(keys.DECIDE_TASK, args=(job_id,), queue=keys.DECIDE_QUEUE)
    whole.wait_until(lambda: is_idle(whole, fields(whole, job_id)["fingerprint"]))
    assert (job(http, job_id), state(http, direction)) == (before, vectors)


def test_a_task_that_is_sent_to_two_workers_at_once_has_one_effect(
    whole: SupervisedStack, http: httpx.Client, celery: Celery, direction: str
) -> None:
    rows = copies(1)
    job_id = post(http, rows, direction)
    for _ in range(5):  # with the first more than may be started without an end
        send(celery, whole, job_id)
    found = ended(http, whole, job_id)
    assert found["status"] == "succeeded", found["error"]
    whole.wait_until(lambda: is_idle(whole, fields(whole, job_id)["fingerprint"]))
    assert_folded_once(http, direction, rows)


@pytest.mark.slow  # the test above, by the broker
def test_a_task_that_is_visible_again_before_it_ends_has_one_effect(
    whole: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    """Its message is made to look as old as one whose task takes too long."""
    rows = copies(2)  # long enough to be seen at it
    job_id = post(http, rows, direction)
    whole.wait_until(lambda: computing(whole, job_id) is not None)
    tags: list[bytes] = []  # the task may have been begun before its message came

    def has_come() -> bool:
        tags[:] = cast("list[bytes]", whole.redis.zrange("unacked_index", 0, -1))
        return bool(tags)

    whole.wait_until(has_come)
    (tag,) = tags
    whole.redis.zadd("unacked_index", {tag: 1})
    whole.wait_until(lambda: whole.redis.zscore("unacked_index", tag) != 1)
    assert computing(whole, job_id) is not None, "the task was over before it was visible again"
    assert ended(http, whole, job_id)["status"] == "succeeded"
    whole.wait_until(lambda: is_idle(whole, fields(whole, job_id)["fingerprint"]))
    assert_folded_once(http, direction, rows)


@pytest.mark.slow
def test_a_task_that_outlives_the_visibility_timeout_has_one_effect(
    whole: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    rows = copies(3)
    job_id = post(http, rows, direction)
    found = ended(http, whole, job_id)
    assert found["status"] == "succeeded"
    assert found["result"]["timing"]["gradients_s"] > VISIBILITY_S, "the task was over before it was visible again"
    whole.wait_until(lambda: is_idle(whole, fields(whole, job_id)["fingerprint"]))
    assert_folded_once(http, direction, rows)


def test_a_request_that_nothing_waits_beside_does_not_wait_for_its_messages(
    whole: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    """The parents of all workers, who take messages, stand still; their children do not."""
    rows = demo_samples(each=1)
    parents = [part.process for role in (Role.GRADIENTS, Role.DECIDE) for part in whole.of(role)]
    try:
        for process in parents:
            assert process is not None
            process.send_signal(signal.SIGSTOP)
        assert ended(http, whole, post(http, rows, direction))["status"] == "succeeded"
    finally:
        for process in parents:
            assert process is not None
            process.send_signal(signal.SIGCONT)
    whole.wait_until(lambda: is_idle(whole, http.get(f"/directions/{direction}").json()["fingerprint"]))
    assert_folded_once(http, direction, rows)


def test_a_service_that_is_told_to_stop_says_where_the_answer_will_be(whole: SupervisedStack, direction: str) -> None:
    rows = copies(1)
    body, headers = {"samples": rows, "direction": direction}, {"Prefer": "wait=60"}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{whole.url}/filter", json=body, headers=headers, timeout=60)
        whole.wait_until(lambda: whole.redis.zcard(keys.JOBS_ACTIVE))
        whole.of(Role.SERVICE)[0].terminate()
        whole.wait_until(waiting.done)
    response = waiting.result()
    assert response.status_code == 202, response.text
    whole.wait_until_whole()
    with httpx.Client(base_url=whole.url, timeout=60) as http:
        assert ended(http, whole, response.headers["Location"].rpartition("/")[2])["status"] == "succeeded"
        assert_folded_once(http, direction, rows)


def test_a_worker_that_is_told_to_stop_ends_its_task_first(
    whole: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    rows = copies(1)[::2]  # on busy cores too it ends before the worker gives it back
    job_id = post(http, rows, direction)
    process = tell_its_worker_to_stop(whole, job_id)
    assert ended(http, whole, job_id)["status"] == "succeeded"
    assert starts(whole, job_id) == 1
    assert_folded_once(http, direction, rows)
    whole.wait_until(lambda: process.returncode is not None)


@pytest.mark.parametrize("killed", [4, pytest.param(0, marks=pytest.mark.slow)])
def test_a_chunk_that_kills_its_worker_every_time_is_given_up_and_the_queue_moves_on(
    killed: int, whole: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    """As the kernel does where memory runs out: whoever computes the chunk is killed, and that is all it hears.

    :param killed: how many workers it has killed already, as Redis has it.
    """
    poisonous = post(http, copies(1), direction)
    whole.redis.hincrby(keys.job(poisonous), f"attempts:{keys.gradients_work(0)}", killed)

    def kill_or_end() -> bool:
        nonlocal killed
        # The one that gives it up is left alone.
        if killed < starts(whole, poisonous) <= 5 and (part := computing(whole, poisonous)) is not None:
            part.kill_child()
            killed += 1
        return str(job(http, poisonous)["status"]) == "failed"

    whole.wait_until(kill_or_end, 280)  # five starts of a worker
    failed = job(http, poisonous)
    assert killed == 5
    assert failed["error"]["status"] == 500
    assert "chunk 0 was given up: it was started 5 times without an end" in failed["error"]["detail"]
    assert http.get(f"/directions/{direction}").status_code == 404
    assert ended(http, whole, post(http, demo_samples(each=1), direction))["status"] == "succeeded"
    (row,) = [row for row in http.get("/jobs?status=failed").json() if row["id"] == poisonous]
    assert (row["starts"], row["can_be_retried"]) == (5, True)
    again = http.post(f"/jobs/{poisonous}/retry", headers={"Prefer": "respond-async"}).json()["id"]
    assert ended(http, whole, again)["status"] == "succeeded", "nobody is killed this time"


@pytest.mark.slow
def test_a_worker_that_is_told_to_stop_gives_back_a_task_that_takes_too_long(
    whole: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    rows = copies(10)
    job_id = post(http, rows, direction)
    stopped = tell_its_worker_to_stop(whole, job_id)
    first = at_its_chunk(whole, job_id)
    stopped.wait(60)
    assert job(http, job_id)["status"] == "running", "the task was over before the worker was"
    assert ended(http, whole, job_id)["status"] == "succeeded"
    # How often it was started does not tell: by then the task has outlived the visibility timeout of this stack.
    assert at_its_chunk(whole, job_id) != first
    assert_folded_once(http, direction, rows)
