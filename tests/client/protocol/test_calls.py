"""The protocol by itself: what is sent, how long the pauses are, and when a call gives up."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import congrad
import httpx
import numpy as np
import pytest
from congrad.contract import wire
from congrad.protocol import calls
from congrad.protocol.answers.replies import Reply, safetensors_of
from congrad.protocol.calls import Call, HttpRequest, Pause
from congrad.protocol.policy import Policy, Timeouts, backoff, retry_after
from safetensors.numpy import save

T = TypeVar("T")

RESULT = wire.FilterResult(
    job_id="j",
    direction=wire.DirectionRef(name="default", version=1, checkpoint="c", languages={"de": 1}),
    decisions=[],
    summary=wire.Summary(kept=0, dropped=0, by_language={}),
    timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
)
QUEUED = wire.Job.model_validate(
    {
        "id": "j",
        "status": "queued",
        "direction": "d",
        "samples": 1,
        "created": "2026-01-01T00:00:00Z",
        "progress": {"done": 0, "total": 1},
    }
)
DONE = QUEUED.model_copy(update={"status": wire.JobStatus.SUCCEEDED, "result": RESULT})
FILTER = HttpRequest("POST", "/filter", b"{}", {"Idempotency-Key": "k"})

Step = Reply | Exception


def answer(model: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, httpx.Headers(headers), model.model_dump_json().encode())


def problem(status: int, instance: str | None = None, **headers: str) -> Reply:
    return answer(wire.Problem(title="t", status=status, detail="what is wrong", instance=instance), status, **headers)


def drive(call: Call[T], *replies: Step) -> tuple[T, list[HttpRequest], list[float]]:
    """Plays the service's part; what the call came to, what it sent, and the pauses it took."""
    sent: list[HttpRequest] = []
    pauses: list[float] = []
    script = iter(replies)
    try:
        step = next(call)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = call.send(None)
                continue
            sent.append(step)
            reply = next(script)
            step = call.throw(reply) if isinstance(reply, Exception) else call.send(reply)
    except StopIteration as end:
        assert next(script, None) is None
        return end.value, sent, pauses


def test_every_attempt_has_the_same_key_and_an_answer_ends_the_call() -> None:
    found, sent, pauses = drive(
        calls.decide(FILTER, Policy()),
        problem(503, **{"Retry-After": "7"}),
        httpx.ConnectError("refused"),
        answer(RESULT),
    )
    assert found == RESULT
    assert {send.headers["Idempotency-Key"] for send in sent} == {"k"}
    assert 7 <= pauses[0] <= 8.75
    assert 0.75 <= pauses[1] <= 1.0


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ReadTimeout("stalled"),
        httpx.RemoteProtocolError("the body is shorter than it should be"),
        httpx.ReadError("reset"),
        Reply(200, httpx.Headers(), b"<html>sign in first</html>"),
        Reply(200, httpx.Headers(), RESULT.model_dump_json().encode()[:40]),
        Reply(502, httpx.Headers(), b"<html>bad gateway</html>"),
        problem(408),
        problem(429),
        problem(500),
    ],
    ids=str,
)
def test_what_is_not_the_requests_fault_is_sent_again(fault: Step) -> None:
    found, sent, pauses = drive(calls.decide(FILTER, Policy()), fault, answer(RESULT))
    assert found == RESULT
    assert len(sent) == 2
    assert 0.375 <= pauses[0] <= 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422])
def test_what_is_the_requests_fault_is_not(status: int) -> None:
    with pytest.raises(congrad.APIStatusError, match="what is wrong") as caught:
        drive(calls.decide(FILTER, Policy()), problem(status, **{"X-Request-ID": "r1"}))
    assert (caught.value.status, caught.value.request_id) == (status, "r1")


def test_a_call_gives_up_after_its_retries() -> None:
    with pytest.raises(congrad.APIConnectionError) as caught:
        drive(calls.decide(FILTER, Policy(max_retries=1)), httpx.ConnectError("a"), httpx.ConnectError("b"))
    assert "b" in str(caught.value)
    with pytest.raises(congrad.APITimeoutError):
        drive(calls.decide(FILTER, Policy(max_retries=0)), httpx.ReadTimeout("stalled"))


def test_downtime_is_waited_out_beyond_the_retries() -> None:
    refused = [httpx.ConnectError("refused")] * 20
    found, sent, pauses = drive(calls.decide(FILTER, Policy(max_retries=0), downtime=60), *refused, answer(RESULT))
    assert found == RESULT
    assert len(sent) == 21
    assert max(pauses) <= 8
    found, sent, _ = drive(
        calls.decide(FILTER, Policy(max_retries=0), downtime=60), answer(QUEUED, 202), *refused[:5], answer(DONE)
    )
    assert found == RESULT
    assert [send.path for send in sent] == ["/filter", *["/jobs/j"] * 6]
    with pytest.raises(congrad.APIConnectionError, match="third"):  # after which the pause alone would be too long
        drive(
            calls.decide(FILTER, Policy(max_retries=0), downtime=1.2),
            *[httpx.ConnectError(number) for number in ("first", "second", "third")],
        )


def test_a_job_that_failed_is_tried_again_but_not_for_as_long_as_a_service_that_is_away() -> None:
    failed = problem(500, "/jobs/j")
    job = QUEUED.model_copy(
        update={"status": wire.JobStatus.FAILED, "error": wire.Problem(title="t", status=500, detail="what is wrong")}
    )
    with pytest.raises(congrad.JobFailedError) as caught:
        drive(calls.decide(FILTER, Policy(max_retries=1), downtime=60), failed, failed, answer(job))
    assert caught.value.job == job
    assert caught.value.status == 500


def test_a_longer_retry_after_than_anyone_waits_ends_the_call() -> None:
    with pytest.raises(congrad.ServerError):
        drive(calls.decide(FILTER, Policy(Timeouts(total=600))), problem(503, **{"Retry-After": "150"}))
    with pytest.raises(congrad.RateLimitError):
        drive(calls.decide(FILTER, Policy(Timeouts(total=5))), problem(429, **{"Retry-After": "10"}))


def test_a_job_is_asked_for_until_it_has_ended() -> None:
    found, sent, _ = drive(calls.decide(FILTER, Policy()), answer(QUEUED, 202), answer(QUEUED), answer(DONE))
    assert found == RESULT
    assert [send.path for send in sent] == ["/filter", "/jobs/j", "/jobs/j"]


def test_a_job_that_ends_otherwise_is_an_error_that_carries_it() -> None:
    bad = wire.Problem(title="t", status=422, detail="bad", errors=[wire.ProblemError(pointer="/samples/3", detail="")])
    failed = QUEUED.model_copy(update={"status": wire.JobStatus.FAILED, "error": bad})
    with pytest.raises(congrad.JobFailedError) as caught:
        drive(calls.decide(FILTER, Policy()), answer(QUEUED, 202), answer(failed))
    assert (caught.value.job, caught.value.status, caught.value.samples) == (failed, 422, [3])
    cancelled = QUEUED.model_copy(update={"status": wire.JobStatus.CANCELLED})
    with pytest.raises(congrad.JobCancelledError) as gone:
        drive(calls.decide(FILTER, Policy()), answer(QUEUED, 202), answer(cancelled))
    assert gone.value.job == cancelled
    with pytest.raises(congrad.JobCancelledError):  # while the request itself was held
        drive(calls.decide(FILTER, Policy()), problem(409, "/jobs/j"), answer(cancelled))
    with pytest.raises(congrad.ConflictError, match="what is wrong"):  # the job itself cannot be read
        drive(calls.decide(FILTER, Policy()), problem(409, "/jobs/j"), problem(404))


def test_a_job_that_redis_has_lost_is_sent_again_under_its_key() -> None:
    found, sent, _ = drive(calls.decide(FILTER, Policy()), answer(QUEUED, 202), problem(404), answer(RESULT))
    assert found == RESULT
    assert [send.path for send in sent] == ["/filter", "/jobs/j", "/filter"]
    with pytest.raises(congrad.NotFoundError):  # but not for ever
        drive(calls.decide(FILTER, Policy(max_retries=1)), *[answer(QUEUED, 202), problem(404)] * 2)


def test_no_wait_for_a_job_is_longer_than_the_total() -> None:
    with pytest.raises(congrad.JobNotFinishedError) as caught:
        drive(calls.wait(QUEUED, Policy(Timeouts(total=0.1))))
    assert caught.value.job == QUEUED
    _, sent, _ = drive(calls.wait(QUEUED, Policy(Timeouts(attempt=60, total=5))), answer(DONE))
    assert sent[0].headers["Prefer"] == "wait=2"
    assert sent[0].timeout <= 5


def test_the_service_is_asked_to_answer_within_an_attempt() -> None:
    _, sent, _ = drive(calls.decide(FILTER, Policy(Timeouts(attempt=8))), answer(RESULT))
    assert sent[0].headers["Prefer"] == "wait=4"
    assert sent[0].timeout == 8
    _, sent, _ = drive(calls.decide(FILTER, Policy(Timeouts(attempt=500))), answer(RESULT))
    assert sent[0].headers["Prefer"] == "wait=12"  # proxies on the way may have no more patience than 15 s


def test_a_service_that_does_not_hold_requests_is_not_asked_without_a_pause() -> None:
    _, _, pauses = drive(calls.wait(QUEUED, Policy()), answer(QUEUED), answer(QUEUED), answer(DONE))
    assert pauses == [0.5, 0.5]


def test_a_file_of_tensors_that_was_cut_or_is_a_page_is_no_answer() -> None:
    whole = save({"sum/de": np.ones(16, np.float32)}, {"version": "1"})
    export = calls.request(HttpRequest("GET", "/"), safetensors_of, Policy())
    assert drive(export, Reply(200, httpx.Headers(), whole))[0] == whole
    for content in (whole[:20], b"", b"<html>sign in first</html>"):
        export = calls.request(HttpRequest("GET", "/"), safetensors_of, Policy(max_retries=0))
        with pytest.raises(congrad.APIResponseError):
            drive(export, Reply(200, httpx.Headers(), content))


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 28 <= (retry_after(later) or 0) <= 38
    assert retry_after(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_a_number_is_the_time_for_the_whole_call_and_no_attempt_takes_longer() -> None:
    assert Timeouts.of(5) == Timeouts(attempt=5, total=5)
    assert Timeouts.of(300) == Timeouts(total=300)
    with pytest.raises(ValueError, match="the total timeout is inf; it should be a positive number of seconds"):
        Timeouts.of(float("inf"))
    with pytest.raises(TypeError, match="the total timeout is str; it should be a number"):
        Timeouts(total="60")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, congrad.BadRequestError),
        (401, congrad.AuthenticationError),
        (404, congrad.NotFoundError),
        (409, congrad.ConflictError),
        (413, congrad.ContentTooLargeError),
        (418, congrad.APIStatusError),
        (422, congrad.UnprocessableError),
        (429, congrad.RateLimitError),
        (500, congrad.ServerError),
        (599, congrad.ServerError),
    ],
)
def test_each_status_has_its_error(status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        drive(calls.decide(FILTER, Policy(max_retries=0)), problem(status))
    assert type(caught.value) is error


def test_pauses_double_up_to_eight_seconds_and_vary() -> None:
    for attempt, longest in enumerate([0.5, 1, 2, 4, 8, 8, 8]):
        found = [backoff(attempt) for _ in range(50)]
        assert all(0.75 * longest <= pause <= longest for pause in found)
        assert len(set(found)) > 1


def test_readiness_is_waited_for_and_its_last_words_are_told() -> None:
    ready = Reply(200, httpx.Headers(), json.dumps({"status": "ready"}).encode())
    _, sent, _ = drive(calls.until_ready(10), httpx.ConnectError("refused"), problem(503), ready)
    assert len(sent) == 3
    with pytest.raises(congrad.APITimeoutError, match=r"not ready after 0.1 s.*what is wrong"):
        drive(calls.until_ready(0.1), problem(503))
    with pytest.raises(congrad.AuthenticationError):
        drive(calls.until_ready(10), problem(401))
