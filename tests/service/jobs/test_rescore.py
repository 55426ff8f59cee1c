"""`POST /jobs/{id}/rescore` over a real Redis: the tests do the workers' part."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
import redis
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks.store import Store
from support.serving import announce_workers, compute, meanwhile, service, settings, settle, submit

LANGUAGES = ["de", "fr", "de"]
JOB_TTL, RESULT_TTL = 5_000, 700
TTLS = {"job_ttl": JOB_TTL, "result_ttl": RESULT_TTL}


class Service:
    """A service, and the hands of its workers."""

    def __init__(self, redis_url: str):
        self._redis_url = redis_url
        self.store = Store(settings(redis_url, **TTLS))
        self.redis: redis.Redis = self.store.redis

    def submit(self, **body: Any) -> str:
        """The id of a new job of several chunks."""

        async def once() -> str:
            async with service(self._redis_url, chunk_tokens=1, **TTLS) as client:
                return await submit(client, LANGUAGES, **body)

        return asyncio.run(once())

    def send(self, key: str, **body: Any) -> httpx.Response:
        """The answer to pairs sent under a key."""
        samples = [{"language": tag, "prompt": "p", "chosen": "c", "rejected": "r"} for tag in LANGUAGES]
        headers = {"Prefer": "respond-async", "Idempotency-Key": key}
        return self.call("POST", "/filter", json={"samples": samples, **body}, headers=headers)

    def finish(self, **body: Any) -> str:
        """The id of a job that has succeeded."""
        job_id = self.submit(**body)
        compute(self.store, job_id)
        settle(self.store, job_id)
        assert self.job(job_id).status is wire.JobStatus.SUCCEEDED
        return job_id

    def rescore(self, job_id: str, key: str | None = None, options: dict[str, Any] | None = None, **body: Any) -> Any:
        headers = {"Prefer": "respond-async", **({"Idempotency-Key": key} if key else {})}
        return self.call("POST", f"/jobs/{job_id}/rescore", options, json=body, headers=headers)

    def rescored(self, job_id: str, **body: Any) -> wire.FilterResult:
        """The result of a rescoring job that has succeeded."""
        again = accepted(self.rescore(job_id, **body))
        settle(self.store, again)
        result = self.job(again).result
        assert result is not None
        return result

    def job(self, job_id: str) -> wire.Job:
        return wire.Job.model_validate(self.call("GET", f"/jobs/{job_id}").json())

    def call(self, method: str, path: str, options: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with service(self._redis_url, **TTLS, **(options or {})) as client:
                return await client.request(method, path, **request)

        return asyncio.run(once())

    def let_pass(self, seconds: int) -> None:
        """What has been written expires as though the seconds were over."""
        for key in self.redis.scan_iter("congrad:*"):
            if (left := self.redis.pttl(key)) >= 0:
                self.redis.pexpire(key, left - 1000 * seconds)  # what should be over by then, goes at once

    def gradients(self, job_id: str) -> list[str]:
        """The keys of a job's gradients that exist."""
        return [key for key in keys.all_gradients(job_id, len(LANGUAGES)) if self.redis.exists(key)]


@pytest.fixture
def running(redis_url: str) -> Iterator[Service]:
    announce_workers(redis_url)
    running = Service(redis_url)
    yield running
    running.redis.close()


def accepted(response: httpx.Response) -> str:
    """The id of the job that a 202 tells of."""
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/jobs/{response.json()['id']}"
    return str(response.json()["id"])


def problem_of(response: httpx.Response, status: int) -> wire.Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return wire.Problem.model_validate(response.json())


def test_a_retained_job_is_scored_again_once(running: Service) -> None:
    job_id = running.finish(retain=True)
    again = accepted(running.rescore(job_id))
    assert again != job_id
    waiting = running.job(again)
    assert (waiting.status, waiting.samples, waiting.direction) == (wire.JobStatus.QUEUED, 3, "default")
    assert waiting.progress == wire.Progress(done=0, total=0)
    direction = running.redis.hgetall(keys.direction("default"))
    settle(running.store, again)
    result, first = running.job(again).result, running.job(job_id).result
    assert result is not None
    assert first is not None
    assert result.job_id == again
    # Nothing has been folded in since, so that the second scoring is the first.
    assert [asdict(d) for d in result.decisions] == [
        asdict(d) | {"conflict_score": pytest.approx(d.conflict_score, abs=1e-6)} for d in first.decisions
    ]
    assert min(result.timing.model_dump().values()) >= 0
    assert running.redis.hgetall(keys.direction("default")) == direction
    assert running.gradients(job_id) == []
    assert running.redis.zcard(keys.JOBS_ACTIVE) == 0
    problem = problem_of(running.rescore(job_id), 409)
    assert problem.detail == f"the gradients of job {job_id} are no longer kept"


def test_the_task_goes_straight_to_the_decide_queue(running: Service) -> None:
    job_id = running.finish(retain=True)
    before = running.redis.llen(keys.gradients_queue("f00d"))
    accepted(running.rescore(job_id))
    assert running.redis.llen(keys.DECIDE_QUEUE) == 1
    assert running.redis.llen(keys.gradients_queue("f00d")) == before


def test_its_own_selection_decides(running: Service) -> None:
    job_id = running.finish(retain=True)
    none = running.rescored(job_id, retain=True, selection={"kind": "fraction", "keep": 0.0, "within": "request"})
    assert [decision.keep for decision in none.decisions] == [False] * 3
    every = running.rescored(job_id, selection={"kind": "threshold", "max_conflict": 1.0})
    assert [decision.keep for decision in every.decisions] == [True] * 3


def test_retaining_once_more_allows_another_scoring(running: Service) -> None:
    job_id = running.finish(retain=True)
    first = running.rescored(job_id, retain=True)
    assert running.gradients(job_id) == keys.all_gradients(job_id, 3)
    second = running.rescored(job_id)
    assert second.decisions == first.decisions
    assert running.gradients(job_id) == []


@pytest.mark.parametrize("update", [True, False])
def test_a_retained_job_lives_as_long_as_its_gradients(update: bool, running: Service) -> None:
    job_id = running.submit(retain=True, update=update)
    compute(running.store, job_id)
    for key in keys.all_gradients(job_id, 3):
        running.redis.expire(key, 100)  # as after a long wait for the decision
    settle(running.store, job_id)
    for key in (keys.job(job_id), *keys.all_gradients(job_id, 3)):
        assert RESULT_TTL < running.redis.ttl(key) <= JOB_TTL
    assert not running.redis.exists(*keys.work(job_id, 3))
    running.rescored(job_id)
    plain = running.finish()
    assert 0 < running.redis.ttl(keys.job(plain)) <= RESULT_TTL
    assert running.gradients(plain) == []


def test_both_passes_can_be_repeated_for_as_long_as_the_first_is_known(running: Service) -> None:
    first = accepted(running.send("first", retain=True))
    compute(running.store, first)
    running.let_pass(JOB_TTL - 100)  # in the queue
    settle(running.store, first)
    running.let_pass(RESULT_TTL + 100)
    again = accepted(running.rescore(first, key="second"))
    settle(running.store, again)
    answers = [running.job(job_id).result for job_id in (first, again)]
    for seconds in (RESULT_TTL + 100, JOB_TTL - 2 * RESULT_TTL - 300):
        running.let_pass(seconds)
        repeated = [running.send("first", retain=True), running.rescore(first, key="second")]
        assert [wire.FilterResult.model_validate(response.json()) for response in repeated] == answers
    running.let_pass(100)
    assert list(running.redis.scan_iter("congrad:job:*")) == []
    running.let_pass(JOB_TTL)  # the keys are known for as long from their own beginning
    assert list(running.redis.scan_iter("congrad:idempotency:*")) == []


def test_a_rescored_answer_is_kept_as_long_as_any_where_its_source_expires_sooner(running: Service) -> None:
    job_id = running.finish(retain=True)
    running.let_pass(JOB_TTL - 100)
    again = running.rescored(job_id).job_id
    assert running.redis.ttl(keys.job(job_id)) <= 100
    assert 100 < running.redis.ttl(keys.job(again)) <= RESULT_TTL


def test_a_key_is_known_as_long_as_the_answer_to_a_request_that_waited_long(running: Service) -> None:
    job_id = accepted(running.send("k"))
    running.let_pass(JOB_TTL - 100)
    compute(running.store, job_id)
    settle(running.store, job_id)
    running.let_pass(RESULT_TTL - 100)
    assert running.send("k").json()["job_id"] == job_id


def test_the_same_key_and_body_get_the_same_answer_when_the_gradients_are_gone(running: Service) -> None:
    job_id = running.finish(retain=True)
    again = accepted(running.rescore(job_id, key="k"))
    assert accepted(running.rescore(job_id, key="k")) == again
    assert running.redis.llen(keys.DECIDE_QUEUE) == 1
    settle(running.store, again)
    running.redis.delete(keys.job(job_id))
    for _ in range(2):
        response = running.rescore(job_id, key="k")
        assert response.status_code == 200
        assert wire.FilterResult.model_validate(response.json()) == running.job(again).result


def test_of_two_requests_at_once_under_one_key_the_later_finds_what_the_earlier_made(
    running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = running.finish(retain=True)
    earlier: list[str] = []

    def once() -> None:
        earlier.append(accepted(running.rescore(job_id, key="k")))
        settle(running.store, earlier[0])

    meanwhile(monkeypatch, once)
    response = running.rescore(job_id, key="k")
    assert response.status_code == 200, response.text
    assert response.json()["job_id"] == earlier[0]
    assert not running.gradients(job_id), "the earlier has scored them, for the last time"


def test_a_key_stands_for_one_job_and_one_body(running: Service) -> None:
    job_id, other = running.finish(retain=True), running.finish(retain=True)
    accepted(running.rescore(job_id, key="k"))
    for response in (running.rescore(other, key="k"), running.rescore(job_id, key="k", retain=True)):
        assert "used before with another body" in problem_of(response, 422).detail


def test_an_unknown_job_is_404(running: Service) -> None:
    assert "there is no job 'x'" in problem_of(running.rescore("x"), 404).detail


def test_a_job_that_has_not_succeeded_is_409(running: Service) -> None:
    job_id = running.submit(retain=True)
    assert "its status is queued" in problem_of(running.rescore(job_id), 409).detail
    running.call("DELETE", f"/jobs/{job_id}")
    assert "its status is cancelled" in problem_of(running.rescore(job_id), 409).detail


def test_a_job_that_was_not_retained_is_409(running: Service) -> None:
    assert "was not retained" in problem_of(running.rescore(running.finish()), 409).detail


def test_a_job_that_scored_another_again_is_409_and_names_that_one(running: Service) -> None:
    job_id = running.finish(retain=True)
    again = running.rescored(job_id, retain=True).job_id
    problem = problem_of(running.rescore(again), 409)
    assert problem.detail == f"job {again} has scored job {job_id} again; rescore that one"


def test_gradients_that_have_expired_in_part_are_409(running: Service) -> None:
    job_id = running.finish(retain=True)
    running.redis.delete(keys.gradients(job_id, 1))
    assert "are no longer kept" in problem_of(running.rescore(job_id), 409).detail


def test_gradients_that_expire_before_the_decision_fail_the_job_with_409(running: Service) -> None:
    job_id = running.finish(retain=True)
    again = accepted(running.rescore(job_id, key="k"))
    running.redis.delete(keys.gradients(job_id, 1))
    settle(running.store, again)
    error = running.job(again).error
    assert error is not None
    assert (error.status, error.instance) == (409, f"/jobs/{again}")
    assert error.detail == f"the gradients of job {job_id} are no longer kept"
    assert problem_of(running.rescore(job_id, key="k"), 409) == error


def test_a_direction_that_belongs_to_another_checkpoint_by_then_is_409(running: Service) -> None:
    job_id = running.finish(retain=True)
    running.redis.hset(keys.direction("default"), "fingerprint", "another")
    again = accepted(running.rescore(job_id))
    settle(running.store, again)
    error = running.job(again).error
    assert error is not None
    assert error.status == 409
    assert "belongs to checkpoint another by now" in error.detail
    assert running.gradients(job_id) == keys.all_gradients(job_id, 3)


def reset(running: Service) -> None:
    assert running.call("DELETE", "/directions/default").status_code == 204


def fold_anew(running: Service) -> None:
    reset(running)
    running.finish()  # the same languages, with as many samples: only the epoch tells the lives apart


def import_itself(running: Service) -> None:
    state = running.call("GET", "/directions/default/state").content
    headers = {"Content-Type": "application/octet-stream"}
    assert running.call("PUT", "/directions/default/state", content=state, headers=headers).status_code == 200


@pytest.mark.parametrize("replace", [reset, fold_anew, import_itself])
def test_a_direction_that_was_reset_or_replaced_since_is_409(
    replace: Callable[[Service], None], running: Service
) -> None:
    job_id = running.finish(retain=True)
    replace(running)
    again = accepted(running.rescore(job_id, key="k"))
    direction = running.redis.hgetall(keys.direction("default"))
    settle(running.store, again)
    problem = problem_of(running.rescore(job_id, key="k"), 409)
    assert problem.instance == f"/jobs/{again}"
    assert f"direction 'default' was reset or replaced since job {job_id} was folded in" in problem.detail
    assert running.redis.hgetall(keys.direction("default")) == direction
    assert running.gradients(job_id) == keys.all_gradients(job_id, 3)


@pytest.mark.parametrize("replace", [reset, fold_anew, import_itself])
def test_a_job_that_was_not_folded_in_is_scored_against_whatever_is_there(
    replace: Callable[[Service], None], running: Service
) -> None:
    running.finish()
    job_id = running.finish(retain=True, update=False)
    replace(running)
    stranger = running.job(running.finish(update=False)).result
    assert stranger is not None
    assert running.rescored(job_id).decisions == stranger.decisions


def test_a_cancelled_rescoring_leaves_the_gradients_alone(running: Service) -> None:
    job_id = running.finish(retain=True)
    again = accepted(running.rescore(job_id))
    assert running.call("DELETE", f"/jobs/{again}").json()["status"] == "cancelled"
    settle(running.store, again)
    assert running.job(again).status is wire.JobStatus.CANCELLED
    assert running.redis.zcard(keys.JOBS_ACTIVE) == 0
    assert running.rescored(job_id).job_id != again


def test_a_rescoring_takes_a_place_in_the_queue(running: Service) -> None:
    job_id = running.finish(retain=True)
    accepted(running.rescore(job_id, options={"max_queue": 1}))
    response = running.rescore(job_id, options={"max_queue": 1})
    problem_of(response, 429)
    assert int(response.headers["retry-after"]) > 0


def test_a_queue_that_cannot_be_reached_is_503_and_the_key_may_be_tried_again(running: Service) -> None:
    job_id = running.finish(retain=True)
    response = running.rescore(job_id, key="k", options={"broker_url": "redis://127.0.0.1:1/0"})
    assert "the queue cannot be reached" in problem_of(response, 503).detail
    assert int(response.headers["retry-after"]) > 0
    accepted(running.rescore(job_id, key="k"))


def test_without_a_decide_worker_it_is_503(running: Service) -> None:
    job_id = running.finish(retain=True)
    running.redis.delete(keys.workers("decide"))
    response = running.rescore(job_id)
    assert "no decide worker is ready" in problem_of(response, 503).detail
    assert int(response.headers["retry-after"]) > 0


def test_a_misspelt_option_is_named(running: Service) -> None:
    job_id = running.finish(retain=True)
    assert [error.pointer for error in problem_of(running.rescore(job_id, keep=True), 422).errors] == ["/keep"]


def test_a_direction_is_made_of_what_is_retained(running: Service) -> None:
    job_id = running.finish(retain=True)
    before = running.redis.hgetall(keys.direction("default"))
    made = running.rescored(job_id, retain=True, direction="other", update=True, half_life=5.0, aggregator="mean")
    assert (made.direction.name, made.direction.version) == ("other", 1)
    assert made.direction.languages == {"de": 2, "fr": 1}
    other = running.call("GET", "/directions/other").json()
    assert (other["half_life"], other["aggregator"]["name"]) == (5.0, "mean")
    assert running.redis.hgetall(keys.direction("default")) == before
    assert running.gradients(job_id) == keys.all_gradients(job_id, 3)
    scored = running.rescored(job_id, direction="other")
    assert (scored.direction.name, scored.direction.version) == ("other", 1)


def test_languages_that_are_not_heard_are_scored_against_those_that_are(running: Service) -> None:
    job_id = running.finish(retain=True)
    heard = running.rescored(job_id, retain=True, languages=["German"])
    assert {tag for decision in heard.decisions for tag in decision.conflicts_with} <= {"de"}
    assert heard.decisions[1].conflict_score is not None, "French, in which there was one"
    nobody = running.rescored(job_id, languages=["ja"])
    assert {decision.reason for decision in nobody.decisions} == {wire.Reason.NO_DIRECTION}


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"update": True}, 422, "needs a 'direction'"),
        ({"update": True, "direction": "other", "languages": ["de"]}, 422, "changes nothing"),
        ({"half_life": 5}, 422, "what a direction begins with"),
        ({"update": True, "direction": "default"}, 409, "has been folded into direction 'default' already"),
    ],
)
def test_what_cannot_be_asked_again_is_told(asked: dict[str, Any], status: int, words: str, running: Service) -> None:
    job_id = running.finish(retain=True)
    problem = problem_of(running.rescore(job_id, **asked), status)
    assert words in problem.detail


def test_directions_have_their_bound_here_too(running: Service) -> None:
    job_id = running.finish(retain=True)
    asked: dict[str, Any] = {"update": True, "direction": "other"}
    assert "1 at most" in problem_of(running.rescore(job_id, options={"max_directions": 1}, **asked), 409).detail


def test_a_job_that_is_under_way_is_not_ended_by_a_second_sender_who_cannot_reach_the_queue(running: Service) -> None:
    job_id = running.finish(retain=True)
    again = accepted(running.rescore(job_id, key="k"))
    running.redis.hdel(keys.job(again), "enqueued")  # the first could not note it
    problem_of(running.rescore(job_id, key="k", options={"broker_url": "redis://127.0.0.1:1/0"}), 503)
    settle(running.store, again)
    assert running.job(again).status is wire.JobStatus.SUCCEEDED
