"""The client against a transport that plays the service."""

from collections.abc import Callable
from typing import Any

import congrad
import httpx
import pytest
from congrad import wire

RESULT = wire.FilterResult(
    job_id="j",
    direction=wire.DirectionRef(name="default", version=1, checkpoint="c", languages={"de": 1}),
    decisions=[],
    summary=wire.Summary(kept=0, dropped=0, by_language={}),
    timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
)
SAMPLE = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}


def client(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> congrad.Client:
    return congrad.Client("http://service", transport=httpx.MockTransport(handler), **options)


def problem(status: int, **headers: str) -> httpx.Response:
    document = wire.Problem(title="t", status=status, detail="what is wrong")
    return httpx.Response(status, text=document.model_dump_json(), headers=headers)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits; how long they would have."""
    waited: list[float] = []
    monkeypatch.setattr("congrad.client.time.sleep", waited.append)
    return waited


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, congrad.BadRequestError),
        (401, congrad.AuthenticationError),
        (404, congrad.NotFoundError),
        (409, congrad.ConflictError),
        (413, congrad.ContentTooLargeError),
        (422, congrad.UnprocessableError),
        (429, congrad.RateLimitError),
        (503, congrad.ServerError),
    ],
)
def test_each_status_has_its_error_with_the_problem(status: int, error: type[congrad.APIStatusError]) -> None:
    with client(lambda _: problem(status), max_retries=0) as connected, pytest.raises(error) as caught:
        connected.filter([SAMPLE])
    assert caught.value.status == status
    assert "what is wrong" in str(caught.value)


def test_a_retry_uses_the_same_idempotency_key_and_obeys_retry_after(pauses: list[float]) -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        match len(keys):
            case 1:
                return problem(503, **{"Retry-After": "7"})
            case 2:
                raise httpx.ConnectError("refused")
            case _:
                return httpx.Response(200, text=RESULT.model_dump_json())

    with client(handler) as connected:
        assert connected.filter([SAMPLE]) == RESULT
        connected.filter([SAMPLE])
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert pauses[0] == 7
    assert 0.5 <= pauses[1] <= 1.0


def test_a_long_retry_after_and_the_callers_own_faults_are_not_retried() -> None:
    for answer in (problem(503, **{"Retry-After": "3600"}), problem(422)):
        calls: list[httpx.Request] = []

        def handler(
            request: httpx.Request, calls: list[httpx.Request] = calls, answer: httpx.Response = answer
        ) -> httpx.Response:
            calls.append(request)
            return answer

        with client(handler) as connected, pytest.raises(congrad.APIStatusError):
            connected.filter([SAMPLE])
        assert len(calls) == 1


def test_a_stalled_service_is_a_timeout_and_a_dead_one_a_connection_error() -> None:
    def stalled(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("stalled")

    def dead(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with client(stalled) as connected, pytest.raises(congrad.APITimeoutError):
        connected.filter([SAMPLE])
    with client(dead) as connected, pytest.raises(congrad.APIConnectionError):
        connected.filter([SAMPLE])
    with client(dead) as connected:
        assert not connected.is_ready()


def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same() -> None:
    with (
        client(lambda _: httpx.Response(502, text="<html>bad gateway"), max_retries=0) as connected,
        pytest.raises(congrad.ServerError, match="bad gateway"),
    ):
        connected.filter([SAMPLE])


def test_what_is_sent_is_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, text=RESULT.model_dump_json())

    monkeypatch.setenv("CONGRAD_API_KEY", "secret")
    with client(handler) as connected:
        connected.filter(
            [congrad.Sample(language="de", chosen="c", rejected="r")],
            direction="d",
            update=False,
            selection=congrad.FractionSelection(kind="fraction", keep=0.5),
        )
    assert seen[0].headers["Authorization"] == "Bearer secret"
    body = wire.FilterRequest.model_validate_json(seen[0].content)
    assert (body.direction, body.update) == ("d", False)
    assert body.selection == congrad.FractionSelection(kind="fraction", keep=0.5)


def test_a_job_that_outlasts_the_request_is_waited_for() -> None:
    job = wire.Job.model_validate(
        {
            "id": "j",
            "status": "queued",
            "direction": "d",
            "samples": 1,
            "created": "2026-01-01T00:00:00Z",
            "progress": {"done": 0, "total": 1},
        }
    )
    done = job.model_copy(update={"status": wire.JobStatus.SUCCEEDED, "result": RESULT})
    failed = job.model_copy(
        update={"status": wire.JobStatus.FAILED, "error": wire.Problem(title="t", status=422, detail="bad")}
    )
    for last in (done, failed, job.model_copy(update={"status": wire.JobStatus.CANCELLED})):
        answers = [job, last]

        def handler(request: httpx.Request, answers: list[wire.Job] = answers) -> httpx.Response:
            if request.method == "POST":
                return httpx.Response(202, text=job.model_dump_json())
            return httpx.Response(200, text=answers.pop(0).model_dump_json())

        with client(handler) as connected:
            if last is done:
                assert connected.filter([SAMPLE]) == RESULT
            else:
                error = congrad.UnprocessableError if last is failed else congrad.JobNotFinishedError
                with pytest.raises(error):
                    connected.filter([SAMPLE])


@pytest.mark.parametrize("text", ["a\ud800", {1, 2}])
def test_what_json_cannot_hold_is_the_projects_own_error(text: object) -> None:
    with (
        client(lambda _: httpx.Response(200)) as connected,
        pytest.raises(congrad.CongradError, match="the samples cannot be sent"),
    ):
        connected.filter([SAMPLE | {"chosen": text}])
