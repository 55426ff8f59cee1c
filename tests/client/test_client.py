"""Both clients against a stub of the service."""

import asyncio
import gc
import inspect
import json
import os
import re
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import congrad
import httpx
import numpy as np
import pytest
from congrad.async_client import AsyncClient
from congrad.client import Client
from congrad.contract import wire
from congrad.directions import AsyncDirections, Directions
from congrad.jobs import AsyncJobs, Jobs
from congrad.protocol.options import Batching, Options
from congrad.protocol.requests import Pairs
from support.stub_service import Handler, StubService, problem, sample


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://service", transport=httpx.MockTransport(handler), **options)


class Both:
    """Calls `filter` of one of the two clients."""

    def __init__(self, kind: str):
        self._kind = kind

    def filter(self, handler: Handler, samples: Any, options: dict[str, Any] | None = None, **call: Any) -> Any:
        transport = httpx.MockTransport(handler)
        options = {"max_retries": 0, "max_downtime": 0} | (options or {})
        if self._kind == "sync":
            with Client("http://service", transport=transport, **options) as connected:
                return connected.filter(samples, **call)

        async def run() -> congrad.Filtered:
            async with AsyncClient("http://service", transport=transport, **options) as connected:
                return await connected.filter(samples, **call)

        return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def test_samples_are_split_and_their_decisions_put_back_in_order(both: Both) -> None:
    service = StubService()
    found = both.filter(service, (sample(i - 500) for i in range(1000)), batch_size=64, concurrency=3)
    assert [d.id for d in found.decisions] == [str(i) for i in range(1000)]
    assert found.keep == [i <= 500 for i in range(1000)]
    assert found.summary.by_language["de"] == wire.LanguageSummary(kept=501, dropped=499, mean_conflict=-0.0005)
    assert sorted(len(body["samples"]) for body in service.bodies) == [40] + [64] * 15
    assert len(found.job_ids) == 16
    assert set(service.folded.values()) == {1}


def test_requests_are_split_by_bytes_too(both: Both) -> None:
    service = StubService()
    big = [sample(0) | {"prompt": "x" * 5_000_000} for _ in range(3)]
    both.filter(service, big)
    assert [len(body["samples"]) for body in service.bodies] == [1, 1, 1]


def test_a_service_that_takes_less_gets_less(both: Both) -> None:
    service = StubService(max_samples=30)
    found = both.filter(service, [sample(i) for i in range(100)], batch_size=100)
    assert [d.id for d in found.decisions] == [str(i) for i in range(100)]
    assert set(service.folded.values()) == {1}
    with pytest.raises(congrad.ContentTooLargeError):
        both.filter(StubService(max_samples=0), [sample(0)])


def test_what_is_sent_is_what_was_asked(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    service = StubService()
    monkeypatch.setenv("CONGRAD_API_KEY", "secret")
    stream = congrad.FractionSelection(kind="fraction", keep=0.5, within="stream")
    given = congrad.Sample(id="mine", language="de", chosen="1", rejected="r")
    found = both.filter(service, [given], direction="d", update=False, selection=stream, checkpoint="c")
    assert found.decisions[0].id == "mine"
    assert service.requests[0].headers["Authorization"] == "Bearer secret"
    assert service.requests[0].headers["User-Agent"].startswith("congrad/")
    assert service.bodies == [
        {
            "samples": [{"id": "mine", "language": "de", "chosen": "1", "rejected": "r"}],
            "direction": "d",
            "update": False,
            "selection": {"kind": "fraction", "keep": 0.5, "within": "stream"},
            "checkpoint": "c",
        }
    ]


@pytest.mark.parametrize("within", ["language", "request"])
def test_a_fraction_is_taken_over_the_whole_call(both: Both, within: str) -> None:
    samples = [sample(i, language) for i in range(50) for language in ("de", "fr")]
    selection = {"kind": "fraction", "keep": 0.2, "within": within}
    found = both.filter(StubService(), samples, batch_size=7, selection=selection)
    assert [d.keep for d in found.decisions] == [i < 10 for i in range(50) for _ in range(2)]
    assert (found.summary.kept, found.summary.dropped) == (20, 80)


def test_no_samples_are_no_error(both: Both) -> None:
    found = both.filter(StubService(), [])
    assert (found.decisions, found.direction, found.job_ids) == ([], None, [])


def test_two_passes_score_all_samples_again(both: Both) -> None:
    service = StubService()
    found = both.filter(service, [sample(i) for i in range(100)], batch_size=30, two_pass=True)
    assert [d.conflict_score for d in found.decisions] == [i / 1000 - 1 for i in range(100)]
    assert all(body["retain"] for body in service.bodies)
    paths = [request.url.path for request in service.requests]
    assert paths.count("/filter") == 4
    assert all("rescore" in path for path in paths[4:])
    assert len(paths) == 8
    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 8
    with pytest.raises(ValueError, match="two_pass folds the samples in"):
        both.filter(service, [sample(0)], two_pass=True, update=False)


def test_the_second_pass_selects_as_asked_and_leaves_no_gradients_behind(both: Both) -> None:
    service = StubService()
    selection = {"kind": "threshold", "max_conflict": -0.5}
    both.filter(service, [sample(0)], two_pass=True, selection=selection)
    rescore = service.requests[-1]
    assert rescore.url.path == "/jobs/job0/rescore"
    assert json.loads(rescore.content) == {"selection": selection, "retain": False}


def test_what_the_service_did_not_decide_in_two_passes_is_told_once(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    service = StubService(before=lambda r: problem(503) if b'"chosen":"3"' in r.content else None)
    found = both.filter(service, map(sample, range(5)), batch_size=1, concurrency=1, two_pass=True,
                        on_unavailable="keep")  # fmt: skip
    assert found.undecided == [3]
    assert [d.conflict_score for d in found.decisions] == [-1, -0.999, -0.998, None, -0.996]
    assert caplog.text.count("samples from 3 on are kept without a score") == 1


def test_of_two_errors_that_of_the_first_samples_is_told() -> None:
    together = threading.Barrier(2, timeout=20)

    def refuse(request: httpx.Request) -> httpx.Response:
        together.wait()
        return problem(422 if b'"chosen":"0"' in request.content else 400)

    with client(refuse) as connected, pytest.raises(congrad.UnprocessableError) as caught:
        connected.filter(map(sample, range(2)), batch_size=1, concurrency=2)
    assert list(caught.value.undecided) == [0, 1]


def test_the_direction_is_told_as_it_stands_after_the_call(both: Both) -> None:
    """Requests that are in flight together are not always folded in in the order of their samples."""
    service = StubService()
    versions = iter(["7", "9", "8"])

    def handler(request: httpx.Request) -> httpx.Response:
        version = next(versions)
        return httpx.Response(200, text=re.sub(r'"version":\d+', f'"version":{version}', service(request).text))

    found = both.filter(handler, map(sample, range(3)), batch_size=1, concurrency=1)
    assert found.direction is not None
    assert found.direction.version == 9


def test_an_error_says_which_samples_have_no_decision(both: Both) -> None:
    def refuse(request: httpx.Request) -> httpx.Response | None:
        if b'"chosen":"25"' in request.content:
            fault = wire.ProblemError(pointer="/samples/5/chosen", detail="bad")
            return problem(422, errors=[fault])
        return None

    with pytest.raises(congrad.UnprocessableError) as caught:
        both.filter(StubService(before=refuse), [sample(i) for i in range(60)], batch_size=10, concurrency=1)
    error = caught.value
    assert error.samples == [25]
    assert error.request_id == "r1"
    assert error.undecided == list(range(20, 60))
    assert [d.id for d in error.decisions[:20] if d is not None] == [str(i) for i in range(20)]
    assert list(error.decisions[20:]) == [None] * 40
    assert "20 of 60 samples have decisions" in error.__notes__[0]


def test_samples_that_are_refused_one_after_the_other_are_named_by_their_places_in_the_call() -> None:
    """A worker may refuse what the service has let pass, in a request from which others were taken out by then."""

    def refuse(request: httpx.Request) -> httpx.Response | None:
        rows = json.loads(request.content)["samples"] if request.content else []
        for bad in ("11", "13"):
            if places := [index for index, row in enumerate(rows) if row["chosen"] == bad]:
                return problem(422, errors=[wire.ProblemError(pointer=f"/samples/{places[0]}/chosen", detail=bad)])
        return None

    decided: list[int] = []

    def ask() -> None:
        with client(StubService(before=refuse)) as connected:
            for result in connected.filter_batches([sample(i) for i in range(20)], batch_size=10, concurrency=1):
                decided.extend(int(decision.id) for decision in result.decisions)

    with pytest.raises(congrad.UnprocessableError) as caught:
        ask()
    assert decided == [place for place in range(20) if place not in (11, 13)]
    (fault,) = caught.value.problem.errors
    assert caught.value.samples == [int(fault.detail)]


@pytest.mark.parametrize("fate", ["keep", "drop"])
def test_without_the_service_samples_are_decided_as_asked_and_never_silently(
    both: Both, fate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def away(request: httpx.Request) -> httpx.Response | None:
        return problem(503) if request.url.path == "/readyz" or b'"chosen":"1' in request.content else None

    samples = [sample(n) for n in (0, 0, 1, 1, 0, 0)]
    found = both.filter(StubService(before=away), samples, batch_size=2, concurrency=1, on_unavailable=fate)
    assert [d.id for d in found.decisions] == [str(i) for i in range(6)]
    # The service does not become ready, so what stands behind the failure is not sent.
    assert found.undecided == [2, 3, 4, 5]
    assert found.keep == [True, True] + [fate == "keep"] * 4
    assert {d.reason for d in found.decisions[2:]} == {wire.Reason.UNAVAILABLE}
    assert "2 samples from 2 on are" in caplog.text
    with pytest.raises(congrad.ServerError) as caught:
        both.filter(StubService(before=away), samples, batch_size=2, concurrency=1)
    assert caught.value.undecided == [2, 3, 4, 5]


def test_a_service_that_comes_back_is_asked_again(both: Both) -> None:
    answers = iter([problem(503)])
    service = StubService(before=lambda _: next(answers, None))
    found = both.filter(service, [sample(0)] * 6, batch_size=2, concurrency=1, on_unavailable="drop")
    assert found.undecided == [0, 1]
    assert found.keep == [False, False, True, True, True, True]


def test_a_service_that_was_waited_for_in_vain_is_not_waited_for_again(caplog: pytest.LogCaptureFixture) -> None:
    service = StubService(before=lambda _: problem(503))
    with client(service, max_retries=0, max_downtime=1) as connected:
        for _ in range(3):
            assert connected.filter([sample(0)], on_unavailable="keep").undecided == [0]
        assert "waiting for the service to come back" in caplog.text
        paths = [request.url.path for request in service.requests]
        assert paths[-3:] == ["/filter", "/readyz", "/readyz"]
        service.before = None
        for _ in range(2):
            assert connected.filter([sample(0)], on_unavailable="keep").undecided == []
        paths = [request.url.path for request in service.requests]
        assert paths[-3:] == ["/readyz", "/filter", "/filter"]


def test_a_request_that_is_refused_is_no_sign_that_the_service_is_away() -> None:
    refusals = iter([problem(422)])
    service = StubService(before=lambda _: next(refusals, None))
    with client(service) as connected:
        with pytest.raises(congrad.UnprocessableError):
            connected.filter([sample(0)])
        connected.filter([sample(0)])
    assert [request.url.path for request in service.requests] == ["/filter", "/filter"]


def test_a_job_that_does_not_end_in_time_is_decided_as_asked(both: Both) -> None:
    job = {
        "id": "j",
        "status": "queued",
        "direction": "d",
        "samples": 1,
        "created": "2026-01-01T00:00:00Z",
        "progress": {"done": 0, "total": 1},
    }
    options = {"timeout": 0.1}
    found = both.filter(lambda _: httpx.Response(202, json=job), [sample(0)], options, on_unavailable="keep")
    assert found.undecided == [0]
    with pytest.raises(congrad.JobNotFinishedError):
        both.filter(lambda _: httpx.Response(202, json=job), [sample(0)], options)


def test_what_a_newer_service_says_can_be_read() -> None:
    answer = StubService()(
        httpx.Request("POST", "/filter", json={"samples": [sample(0)]}, headers={"Idempotency-Key": "k"})
    )
    newer = answer.text.replace('"reason":null', '"reason":"too_blue","certainty":0.5')
    with client(lambda _: httpx.Response(200, text=newer)) as connected:
        assert connected.filter([sample(0)]).decisions[0].reason == "too_blue"


def test_the_status_of_an_error_is_that_of_http() -> None:
    lying = problem(400)
    lying.status_code = 503
    with client(lambda _: lying, max_retries=0) as connected, pytest.raises(congrad.ServerError) as caught:
        connected.checkpoints()
    assert caught.value.status == 503


def test_a_wrong_token_is_an_error_and_not_a_service_that_is_not_ready() -> None:
    with client(lambda _: problem(401)) as connected, pytest.raises(congrad.AuthenticationError):
        connected.is_ready()


def test_names_in_paths_stay_names() -> None:
    service = StubService()
    with client(service) as connected:
        for call in (connected.jobs.get, connected.jobs.cancel, connected.directions.get):
            with pytest.raises(congrad.NotFoundError):
                call("x/../../directions/default?y#z")
    assert all(b"..%2F..%2Fdirections%2Fdefault%3Fy%23z" in request.url.raw_path for request in service.requests)


def test_requests_do_not_depend_on_where_a_call_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("congrad.protocol.requests.MAX_BYTES", 1000)
    samples = [sample(i) | {"prompt": "x" * size} for i, size in enumerate([400, 400, 400, 400, 5, 5, 5, 5, 400, 5])]
    service = StubService()
    with client(service) as connected:
        whole = list(connected.filter_batches(samples, batch_size=4, idempotency_key="k"))
        for start in (2, 4, 8):
            rest = connected.filter_batches(samples[start:], start=start, batch_size=4, idempotency_key="k")
            assert [r.job_id for r in rest] == [r.job_id for r in whole if int(r.decisions[0].id) >= start]
    assert [len(body["samples"]) for body in service.bodies] == [2, 2, 4, 2]
    assert set(service.folded.values()) == {1}


def test_an_answer_to_other_samples_is_an_error(both: Both) -> None:
    others = StubService()(
        httpx.Request("POST", "/filter", json={"samples": [sample(0) | {"id": "x"}]}, headers={"Idempotency-Key": "k"})
    )
    with pytest.raises(congrad.APIResponseError, match="other samples than were sent"):
        both.filter(lambda _: httpx.Response(200, text=others.text), [sample(0)])


def test_a_forked_process_has_connections_of_its_own() -> None:
    with client(StubService()) as connected:
        mine = connected._http
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writer, b"other" if connected._http is not mine else b"same")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 10) == b"other"
        assert connected._http is mine
        os.close(reader)
        os.close(writer)


def test_what_was_decided_before_the_source_failed_is_not_lost() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from map(sample, range(4))
        raise OSError("the file is gone")

    with client(StubService()) as connected:
        decisions = connected.filter_stream(broken(), batch_size=2)
        assert [next(decisions).id for _ in range(4)] == ["0", "1", "2", "3"]
        with pytest.raises(OSError, match="the file is gone"):
            next(decisions)


@pytest.mark.parametrize(
    "options",
    [{"selection": {"kind": "fraction", "keep": 0.0}}, {"two_pass": True}],
    ids=["a fraction of the whole", "a first pass"],
)
def test_no_decision_is_told_that_depends_on_missing_scores(both: Both, options: dict[str, Any]) -> None:
    refuse = StubService(before=lambda r: problem(422) if b'"chosen":"3"' in r.content else None)
    with pytest.raises(congrad.UnprocessableError) as caught:
        both.filter(refuse, map(sample, range(4)), batch_size=1, concurrency=1, **options)
    assert list(caught.value.decisions) == [None] * 4
    assert list(caught.value.undecided) == [0, 1, 2, 3]


def test_half_of_a_request_that_was_too_large_is_not_lost(both: Both) -> None:
    service = StubService(max_samples=2)
    service.before = lambda r: problem(503) if b'"samples":[{"id":"2"' in r.content else None
    samples = [{"id": str(i), **sample(i)} for i in range(4)]
    found = both.filter(service, samples, batch_size=4, on_unavailable="drop")
    assert found.undecided == [2, 3]
    assert [d.conflict_score for d in found.decisions] == [0.0, 0.001, None, None]


def test_a_closed_client_says_so() -> None:
    connected = client(StubService())
    copy = connected.with_options(max_retries=0)
    copy.close()
    assert connected.filter([sample(0)]).keep == [True]
    connected.close()
    for call in (lambda: connected.filter([sample(0)]), lambda: list(connected.jobs.events("j"))):
        with pytest.raises(congrad.CongradError, match="the client is closed"):
            call()


def test_a_key_is_checked_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    service = StubService()
    monkeypatch.setenv("CONGRAD_API_KEY", "secret\n")
    with client(service) as connected:
        connected.is_ready()
    assert service.requests[0].headers["Authorization"] == "Bearer secret"
    with pytest.raises(ValueError, match="CONGRAD_API_KEY") as caught:
        Client(api_key="sécret")
    assert "cret" not in str(caught.value).replace("secrets", "")


@pytest.mark.parametrize("content", ["<html>\n  <body>File not found.</body>\n</html>", '{"detail":"Not Found"}', ""])
def test_of_an_error_that_is_not_the_services_it_is_said_that_it_is_not(content: str) -> None:
    """Another server at the address, such as one of a model, which has the same port by default."""
    with (
        client(lambda _: httpx.Response(404, text=content), max_retries=0) as connected,
        pytest.raises(congrad.NotFoundError, match="404 Not Found: not as CONGRAD answers: something else") as caught,
    ):
        connected.filter([sample(0)])
    shown = " ".join(content.split())
    assert str(caught.value).endswith(f": {shown}" if shown else "on the way to the service")


def test_a_proxys_page_is_no_success() -> None:
    with client(lambda _: httpx.Response(200, text="<html>sign in"), max_retries=0) as connected:
        assert not connected.is_ready()
        calls: list[Callable[[], object]] = [
            connected.directions.export,
            connected.directions.reset,
            connected.checkpoints,
        ]
        for call in calls:
            with pytest.raises(congrad.APIResponseError, match="sign in"):
                call()


def test_an_address_that_sends_on_says_where_to() -> None:
    connected = client(lambda _: httpx.Response(308, headers={"Location": "https://service/filter"}))
    with connected, pytest.raises(congrad.APIStatusError, match=r"308 .*it is at https://service/filter; base_url"):
        connected.filter([sample(0)])


@pytest.mark.parametrize("given", [sample(0), congrad.Sample(language="de", chosen="a", rejected="b"), "a.jsonl", None])
def test_what_is_no_list_of_samples_is_told_before_a_sample_is_at_fault(both: Both, given: Any) -> None:
    with pytest.raises(TypeError, match=r"samples is .*a list of samples, or one split"):
        both.filter(StubService(), given)


def test_tables_of_other_libraries_say_how_they_give_their_rows(both: Both) -> None:
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    rows = [sample(i) for i in range(3)]
    with pytest.raises(TypeError, match=r"samples is DataFrame.*samples\.to_dict\('records'\)"):
        both.filter(StubService(), pandas.DataFrame(rows))
    with pytest.raises(TypeError, match=r"samples is Table.*samples\.to_pylist\(\)"):
        both.filter(StubService(), arrow.Table.from_pylist(rows))
    assert len(both.filter(StubService(), pandas.DataFrame(rows).to_dict("records")).keep) == 3


def test_one_client_serves_one_event_loop_after_another() -> None:
    """A training loop that calls ``asyncio.run`` for each batch has another event loop each time."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which keeps connections open

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 # its own name

    async def close() -> None:
        await connected.aclose()

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connected = AsyncClient(f"http://127.0.0.1:{server.server_port}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of the connections that the loop has left open
            assert [asyncio.run(connected.is_ready()) for _ in range(3)] == [True, True, True]
            asyncio.run(close())
            gc.collect()
        with pytest.raises(congrad.CongradError, match="the client is closed"):
            asyncio.run(connected.is_ready())
        server.shutdown()


def test_without_the_service_languages_are_counted_as_it_would(both: Both) -> None:
    found = both.filter(lambda _: problem(503), [sample(0, "zh_cn"), sample(0, "?")], on_unavailable="keep")
    assert [d.language for d in found.decisions] == ["zh-CN", "?"]


def test_the_callers_own_faults_are_errors_whatever_on_unavailable_says(both: Both) -> None:
    with pytest.raises(congrad.AuthenticationError):
        both.filter(lambda _: problem(401), [sample(0)], on_unavailable="keep")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (sample(0) | {"chosen": "a\ud800"}, "surrogates not allowed"),
        (sample(0) | {"chosen": {1, 2}}, "no form for set"),
        (sample(0) | {"images": [object()]}, "images are not supported: a sample should be text"),
        (sample(0) | {"ref_chosen_logps": float("nan")}, "not JSON compliant"),
        (["a", "b"], "it is list, not a mapping"),
    ],
)
def test_nothing_is_sent_when_a_sample_cannot_be(both: Both, bad: object, message: str) -> None:
    service = StubService()
    with pytest.raises(congrad.InvalidSampleError, match=message) as caught:
        both.filter(service, [sample(0)] * 300 + [bad])
    assert caught.value.position == 300
    assert service.requests == []


def test_a_call_with_the_same_key_and_samples_makes_the_same_requests(both: Both) -> None:
    service = StubService()
    samples = [sample(i) for i in range(20)]
    first = both.filter(service, samples, batch_size=8, idempotency_key="k")
    again = both.filter(service, samples, batch_size=8, idempotency_key="k")
    assert first == again
    mended = [*samples[:-1], sample(7)]
    both.filter(service, mended, batch_size=8, idempotency_key="k")
    assert service.folded["0"] == 1
    assert service.folded["19"] == 2  # another sample, in another request
    both.filter(service, samples, batch_size=8)
    assert service.folded["0"] == 2


def test_ids_may_be_numbers_and_the_same_sample_again_is_another_one(both: Both) -> None:
    service = StubService()
    found = both.filter(service, [sample(0) | {"id": 17}] * 2, batch_size=1)
    assert [d.id for d in found.decisions] == ["17", "17"]
    assert service.folded == {"17": 2}


def test_messages_may_be_an_array(both: Both) -> None:
    """As pandas and pyarrow give them."""
    sent: list[Any] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        sent.extend(json.loads(request.content)["samples"])
        return problem(422)

    messages = {name: [{"role": "user", "content": name}] for name in ("prompt", "chosen", "rejected")}
    arrays = {name: np.array(turns, dtype=object) for name, turns in messages.items()}
    with pytest.raises(congrad.UnprocessableError):
        both.filter(refuse, [{"language": "de", **arrays}])
    assert sent == [{"language": "de", **messages, "id": "0"}]


def test_messages_may_be_those_of_the_sdk_in_a_mapping_too() -> None:
    row = {"language": "de", **{name: [{"role": "user", "content": name}] for name in ("chosen", "rejected")}}
    mine = row | {name: [congrad.Message(role="user", content=name)] for name in ("chosen", "rejected")}
    assert Pairs.of([mine], 0).encoded == Pairs.of([row], 0).encoded


@pytest.mark.parametrize("kind", ["torch", "numpy", "pandas", "arrow"])
def test_a_datasets_format_changes_nothing_of_what_is_sent(kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [sample(i) | {"id": str(i)} for i in range(3)]
    service = StubService()
    with client(service) as connected:
        connected.filter(datasets.Dataset.from_list(rows).with_format(kind))
    assert service.bodies[0]["samples"] == rows


def test_a_dataset_gives_the_columns_of_a_sample_and_no_nulls(both: Both) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [sample(i) | {"source": "x", "id": None, "ref_chosen_logps": None} for i in range(5)]
    service = StubService()
    found = both.filter(service, datasets.Dataset.from_list(rows))
    assert len(found.decisions) == 5
    assert service.bodies[0]["samples"][0] == sample(0) | {"id": "0"}


def test_completions_are_sent_as_they_are(both: Both) -> None:
    datasets = pytest.importorskip("datasets")
    row = {"id": "0", "language": "de", "prompt": "p", "completion": "-3"}
    table = datasets.Dataset.from_list([row | {"chosen": None, "rejected": None, "messages": [], "source": "x"}])
    for samples in ([row], [congrad.PromptCompletion.model_validate(row)], table):
        service = StubService()
        (decision,) = both.filter(service, samples).decisions
        assert service.bodies[0]["samples"] == [row]
        assert decision.conflict_score == -0.003


def test_a_dataset_that_does_not_know_its_columns_is_read_row_by_row() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([sample(i) | {"id": i, "source": "x"} for i in range(5)])
    stream = rows.to_iterable_dataset().map(lambda row: row)
    assert stream.column_names is None
    service = StubService()
    with client(service) as connected:
        assert [d.id for d in connected.filter_stream(stream)] == ["0", "1", "2", "3", "4"]
    assert service.bodies[0]["samples"][0] == sample(0) | {"id": "0"}


def test_options_that_cannot_be_are_refused(both: Both) -> None:
    for bad in (
        {"batch_size": 0},
        {"batch_size": "8"},
        {"concurrency": 1.5},
        {"concurrency": 0},
        {"on_unavailable": "ignore"},
        {"selection": {"kind": "best"}},
    ):
        with pytest.raises(ValueError, match=r"batch_size|concurrency|on_unavailable|kind"):
            both.filter(StubService(), [sample(0)], **bad)
    # Not in pydantic's words, which are about classes of ours.
    for selection, message in (
        ("threshold", "selection: should be a valid dictionary"),
        ({"keep": 0.5}, "selection: 'kind' is missing"),
        ({"kind": "best"}, "selection: 'kind' should be one of 'threshold', 'fraction'; it is 'best'"),
        ({"kind": "fraction", "keep": 2}, "selection: keep: should be less than or equal to 1"),
    ):
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            both.filter(StubService(), [sample(0)], selection=selection)
        assert "pydantic" not in str(caught.value)
    with pytest.raises(ValueError, match="start is -1; the first sample is at 0"), client(StubService()) as connected:
        list(connected.filter_batches([sample(0)], start=-1))
    with pytest.raises(ValueError, match="should begin with http"):
        Client("localhost:8000")
    with pytest.raises(ValueError, match="timeout is 0"):
        Client(timeout=0)
    with pytest.raises(ValueError, match="max_retries=-1"):
        Client(max_retries=-1)
    with pytest.raises(ValueError, match="max_downtime=nan"):  # with it a service that is away was never given up
        Client(max_downtime=float("nan"))
    with pytest.raises(TypeError, match=r"should be seconds or congrad\.Timeouts"):
        Client(timeout=httpx.Timeout(5))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"base_url": httpx.URL("http://localhost:8000")}, "base_url is URL; it should be a string"),
        ({"api_key": 7}, "api_key is int; it should be a string"),
        ({"max_retries": "2"}, "max_retries is str; it should be a number"),
        ({"max_downtime": "60"}, "max_downtime is str; it should be a number"),
    ],
)
def test_a_setting_of_another_type_is_named(kind: Any, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        kind(**setting)


def test_a_model_in_place_of_its_path_is_named() -> None:
    with pytest.raises(TypeError, match="publish: adapter is object; it should be a path or a name"):
        client(StubService()).checkpoints.publish(adapter=object())  # type: ignore[arg-type]


def test_every_keyword_that_a_type_checker_knows_is_taken_and_no_other_is() -> None:
    assert congrad.RequestOptions.__optional_keys__ == {field.name for field in fields(Options)}
    assert congrad.BatchOptions.__optional_keys__ == {field.name for field in fields(Batching)}
    service = client(StubService())
    calls: list[tuple[Callable[..., Any], str]] = [
        (service.filter, "answered"),
        (service.filter_stream, "two_pass"),
        (service.filter_batches, "progress"),
        (service.jobs.submit, "batch_size"),
    ]
    for call, of_another in calls:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{of_another}'"):
            call([sample(1)], **{of_another: 1})


def test_a_stream_yields_in_order_and_takes_no_more_than_it_needs() -> None:
    taken = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield sample(taken)

    service = StubService()
    with client(service) as connected:
        decisions = connected.filter_stream(endless(), batch_size=10, concurrency=3)
        first = [next(decisions) for _ in range(25)]
        assert [d.id for d in first] == [str(i) for i in range(25)]
        assert taken <= 10 * (3 + 3)
        decisions.close()
        with pytest.raises(ValueError, match="a stream has no end"):
            connected.filter_stream(endless(), selection={"kind": "fraction", "keep": 0.5})


def test_an_asynchronous_stream_takes_asynchronous_samples() -> None:
    async def endless() -> AsyncIterator[dict[str, Any]]:
        number = 0
        while True:
            await asyncio.sleep(0)
            yield sample(number)
            number += 1

    async def some_samples() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield sample(number)

    async def run() -> list[str]:
        async with AsyncClient("http://service", transport=httpx.MockTransport(StubService())) as connected:
            found: list[str] = []
            decisions = connected.filter_stream(endless(), batch_size=10)
            async for decision in decisions:
                found.append(decision.id)
                if len(found) == 25:
                    break
            await decisions.aclose()
            some = await connected.filter(some_samples())
            assert len(some.decisions) == 3
            return found

    assert asyncio.run(run()) == [str(i) for i in range(25)]


def test_a_stream_without_the_service_goes_on_as_asked() -> None:
    service = StubService(before=lambda r: problem(503) if b'"chosen":"3"' in r.content else None)
    with client(service, max_retries=0, max_downtime=0) as connected:
        found = connected.filter_stream(map(sample, range(6)), batch_size=1, concurrency=1, on_unavailable="keep")
        assert [d.reason is wire.Reason.UNAVAILABLE for d in found] == [False, False, False, True, False, False]


def test_batches_go_on_where_an_earlier_call_stopped() -> None:
    service = StubService()
    samples = [sample(i) for i in range(20)]
    with client(service) as connected:
        first = next(iter(connected.filter_batches(samples, batch_size=8, concurrency=1, idempotency_key="k")))
        rest = list(connected.filter_batches(samples[8:], start=8, batch_size=8, idempotency_key="k"))
        whole = list(connected.filter_batches(samples, batch_size=8, idempotency_key="k"))
    assert [first, *rest] == whole
    assert [len(body["samples"]) for body in service.bodies] == [8, 8, 4]
    assert set(service.folded.values()) == {1}
    assert [d.id for result in whole for d in result.decisions] == [str(i) for i in range(20)]


def test_asynchronous_samples_are_cut_into_the_same_requests_wherever_a_call_starts() -> None:
    service = StubService()
    samples = [sample(i) for i in range(11)]

    async def later(start: int) -> AsyncIterator[dict[str, Any]]:
        for row in samples[start:]:
            await asyncio.sleep(0)
            yield row

    async def run() -> None:
        async with AsyncClient("http://service", transport=httpx.MockTransport(service)) as connected:
            for start in (0, 6, 8):
                results = connected.filter_batches(later(start), start=start, batch_size=4, idempotency_key="k")
                assert [d.id async for r in results for d in r.decisions][-3:] == ["8", "9", "10"]

    asyncio.run(run())
    assert [len(body["samples"]) for body in service.bodies] == [4, 4, 3, 2]
    assert service.folded == {str(i): 2 if i in (6, 7) else 1 for i in range(11)}


def test_a_job_without_samples_is_not_sent() -> None:
    service = StubService()
    with client(service) as connected, pytest.raises(ValueError, match="there are no samples to send"):
        connected.jobs.submit([])
    assert service.requests == []


def test_what_cannot_be_asked_is_said_by_the_sdk_itself_and_before_anything_is_sent() -> None:
    def never(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing is to be sent")

    with client(never) as connected:
        calls: list[tuple[Callable[[], object], type[Exception], str]] = [
            (lambda: connected.checkpoints.publish(), ValueError, "neither a model nor an adapter"),
            (lambda: connected.checkpoints.publish(replaces="f"), ValueError, "neither a model nor an adapter"),
            (lambda: connected.checkpoints.publish(model=""), ValueError, "publish: model: should have at least 1"),
            (
                lambda: connected.workers.sleep(level="deep"),  # type: ignore[arg-type]
                ValueError,
                "sleep: level: should be 'offload' or 'discard'",
            ),
            (lambda: connected.workers.wake(""), ValueError, "wake: checkpoint: should have at least 1"),
            (lambda: connected.directions.import_("d", "d.safetensors"), TypeError, "state is str; it should be bytes"),  # type: ignore[arg-type]
            (lambda: connected.jobs.get(None), TypeError, "job is NoneType"),  # type: ignore[arg-type]
            (lambda: connected.rescore(None), TypeError, "jobs is NoneType"),  # type: ignore[arg-type]
            (lambda: connected.rescore(["j"], half_life="inf"), ValueError, "half_life is 'inf'"),  # type: ignore[arg-type]
        ]
        for call, kind, message in calls:
            with pytest.raises(kind, match=message) as caught:
                call()
            assert "pydantic" not in str(caught.value)


def test_one_job_can_be_scored_again_like_several() -> None:
    service = StubService()
    with client(service) as connected:
        job_ids = connected.filter([sample(1)], retain=True).job_ids
        assert connected.rescore(job_ids[0]).decisions == connected.rescore(job_ids).decisions


def test_as_many_requests_are_in_flight_as_asked() -> None:
    together = threading.Barrier(3, timeout=20)

    def handler(request: httpx.Request) -> httpx.Response:
        together.wait()
        return service(request)

    service = StubService()
    with client(handler) as connected:
        assert len(connected.filter([sample(0)] * 6, batch_size=1, concurrency=3).decisions) == 6


def test_readiness_is_asked_and_waited_for() -> None:
    states = iter([problem(503), problem(503)])
    service = StubService(before=lambda _: next(states, None))
    with client(service) as connected:
        assert not connected.is_ready()
        connected.wait_until_ready(timeout=20)
        assert connected.is_ready()
    with client(lambda _: problem(503)) as connected, pytest.raises(congrad.APITimeoutError):
        connected.wait_until_ready(timeout=0.1)


def test_other_options_are_another_client_on_the_same_connections() -> None:
    calls: list[httpx.Request] = []

    def broken(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return problem(500)

    with client(broken, max_retries=5) as connected:
        with pytest.raises(congrad.ServerError):
            connected.with_options(max_retries=0).checkpoints()
        assert len(calls) == 1
        with pytest.raises(congrad.ServerError):
            connected.with_options(max_retries=1).directions.list()
        assert len(calls) == 3


def test_an_answer_that_trickles_is_a_timeout() -> None:
    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                threading.Event().wait(0.02)  # a slow network, which no event announces
                yield b" "

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Trickle())

    with (
        client(handler, timeout=0.2, max_retries=0, max_downtime=0) as connected,
        pytest.raises(congrad.APITimeoutError),
    ):
        connected.checkpoints()


@pytest.mark.parametrize("pair", [(Client, AsyncClient), (Jobs, AsyncJobs), (Directions, AsyncDirections)])
def test_both_clients_have_the_same_methods_with_the_same_parameters(pair: tuple[type, type]) -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        names = {name.replace("aclose", "close"): list(inspect.signature(f).parameters) for name, f in found}
        return {name: parameters for name, parameters in names.items() if not name.startswith("_")}

    assert methods(pair[0]) == methods(pair[1])


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        (lambda connected: connected.workers.sleep(timeout=1), wire.Order(number=1, workers=["w"])),
        (
            lambda connected: connected.checkpoints.publish(adapter=Path("/a"), timeout=1),
            wire.Publication(id="p", status=wire.PublicationStatus.WAITING, replaces="f", created=datetime.now(UTC)),
        ),
    ],
)
def test_who_waits_for_workers_waits_no_longer_than_asked_where_the_service_goes_away(
    order: Callable[[Client], object], answer: wire.Order | wire.Publication
) -> None:
    def goes_away(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, text=answer.model_dump_json())
        raise httpx.ConnectError("refused", request=request)

    begun = time.monotonic()
    with client(goes_away, max_retries=0, max_downtime=30) as connected, pytest.raises(congrad.CongradError):
        order(connected)
    assert time.monotonic() - begun < 10
