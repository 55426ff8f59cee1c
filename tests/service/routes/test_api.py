"""The HTTP contract, over a real Redis. The workers are announced, but none is there: jobs stay queued."""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import redis
from congrad_service import keys
from congrad_service.queue.registry import Role
from congrad_service.routes import health
from congrad_service.settings import ServiceSettings
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.tasks.store import Store
from support.refusals import read_only
from support.serving import ANNOUNCEMENT, announce_workers, service, settings
from support.stored import chunk_of

JSON = {"Content-Type": "application/json"}
PAIR = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"x": {"default": None}}}}


def call(
    redis_url: str, method: str, path: str, options: dict[str, Any] | None = None, **request: Any
) -> httpx.Response:
    """One request to a fresh service process, so to speak."""

    async def once() -> httpx.Response:
        async with service(redis_url, **(options or {})) as client:
            return await client.request(method, path, **request)

    return asyncio.run(once())


@pytest.fixture
def workers(redis_url: str) -> Iterator[None]:
    """A gradients worker and a decide worker, as far as the registry knows."""
    store, other = Store(settings(redis_url)), Store(settings(redis_url))  # a process each
    beats = [Heartbeat(store, Role.GRADIENTS, ANNOUNCEMENT), Heartbeat(other, Role.DECIDE)]
    for beat in beats:
        beat.start()
    yield
    for beat in beats:
        beat.stop()
    for each in (store, other):
        each.redis.close()


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert problem["status"] == status
    return problem


def assert_nothing_written(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        assert [key for key in connection.scan_iter() if b":job" in key or b":direction" in key] == []


BAD = [
    ({"samples": []}, "/samples", "at least 1 item"),
    ({"samples": [PAIR], "colour": 1}, "/colour", "colour: is not a known field"),
    ({"samples": [PAIR | {"id": "a", "colour": 1}]}, "/samples/0/colour", "sample 0 (id 'a'): colour: is not a known"),
    ({"samples": [PAIR, PAIR | {"id": "b", "prompt": 7}]}, "/samples/1/prompt", "sample 1 (id 'b'): prompt: should be"),
    ({"samples": [PAIR | {"id": "b", "prompt": None}]}, "/samples/0", "sample 0 (id 'b'): prompt should be a string"),
    ({"samples": [{"id": "c", "language": "de", "chosen": "x"}]}, "/samples/0/rejected", "is missing"),
    ({"samples": [PAIR | {"id": "d", "language": "englisch"}]}, "/samples/0/language", "'englisch' is not a BCP 47"),
    ({"samples": [PAIR | {"language": "jp"}]}, "/samples/0/language", "did you mean 'ja' (Japanese)?"),
    ({"samples": [PAIR | {"id": "a"}] * 2}, "/samples/1/id", "sample 1 (id 'a'): sample 0 has the same id"),
    ({"samples": [PAIR | {"id": "1"}, PAIR]}, "/samples/1/id", "sample 0 has the same id"),
    ({"samples": [PAIR | {"id": "e", "chosen": "a\ud800"}]}, "/samples/0/chosen", "lone surrogate at character 1"),
    ({"samples": [PAIR | {"chosen": [{"role": "a", "content": "\udc00"}]}]}, "/samples/0/chosen/0/content", "lone"),
    ({"samples": [PAIR | {"\ud800": 1}]}, "/samples/0", "unicode string"),
    ({"samples": [PAIR | {"id": "f", "ref_chosen_logps": float("nan"), "ref_rejected_logps": 1.0}]},
     "/samples/0/ref_chosen_logps", "sample 0 (id 'f'): ref_chosen_logps: should be a finite number"),
    ({"samples": [PAIR | {"ref_chosen_logps": -1.0}]}, "/samples/0", "should be given together"),
    ({"samples": [PAIR | {"chosen": [{"role": "a", "content": "x"}]}]}, "/samples/0", "both be strings or both"),
    ({"samples": [PAIR | {"chosen": [{"role": "a", "content": [{"type": "image"}]}]}]},
     "/samples/0/chosen/0/content/0", "images and other media are not supported"),
    ({"samples": [PAIR | {"images": []}]}, "/samples/0", "sample 0: images are not supported"),
    ({"samples": [PAIR | {"tools": [TOOL, 1]}]}, "/samples/0/tools/1", "tools.1: should be a valid dictionary"),
    ({"samples": [PAIR | {"tools": [{"a": "\udc00"}]}]}, "/samples/0/tools/0", "lone surrogate"),
    ({"samples": [PAIR | {"chat_template_kwargs": {"a": float("inf")}}]}, "/samples/0/chat_template_kwargs", "finite"),
    ({"samples": [PAIR | {"chat_template_kwargs": {"chat_template": "x"}}]}, "/samples/0/chat_template_kwargs",
     "chat_template_kwargs: may hold variables of the chat template only, not chat_template"),
    ({"samples": [PAIR], "selection": {"kind": "best"}}, "/selection",
     "selection: 'kind' should be one of 'threshold', 'fraction'; it is 'best'"),
    ({"samples": [PAIR], "selection": {"keep": 0.5}}, "/selection", "selection: 'kind' is missing"),
    ({"samples": [PAIR], "selection": {"kind": "fraction", "keep": 2}}, "/selection/keep", "less than or equal to 1"),
    ({"samples": [PAIR], "direction": "a/b"}, "/direction", "pattern"),
    ({"samples": [PAIR], "aggregator": "median"}, "/aggregator", "aggregator: should be 'pcgrad', 'agreement', 'mean'"),
]  # fmt: skip


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize(("body", "pointer", "detail"), BAD)
def test_bad_input_is_named_and_changes_nothing(
    body: dict[str, Any], pointer: str, detail: str, redis_url: str
) -> None:
    response = call(redis_url, "POST", "/filter", content=json.dumps(body), headers=JSON)
    problem = assert_problem(response, 422)
    assert [error for error in problem["errors"] if error["pointer"] == pointer and detail in error["detail"]], problem
    assert_nothing_written(redis_url)


@pytest.mark.usefixtures("workers")
def test_each_fault_is_told_once_beside_the_others(redis_url: str) -> None:
    samples = [{"id": "a", "language": "de", "prompt": 7, "rejected": "x"}, {"prompt": [], "chosen": "x"}]
    response = call(redis_url, "POST", "/filter", json={"samples": samples})
    problem = assert_problem(response, 422)
    assert problem["errors"] == [
        {
            "pointer": "/samples/0/prompt",
            "detail": "sample 0 (id 'a'): prompt: should be a string or a list of {role, content} messages",
        },
        {"pointer": "/samples/0/chosen", "detail": "sample 0 (id 'a'): chosen: is missing"},
        {"pointer": "/samples/1/language", "detail": "sample 1: language: is missing"},
        {"pointer": "/samples/1/prompt", "detail": "sample 1: prompt: should have at least 1 item; it has 0"},
        {"pointer": "/samples/1/rejected", "detail": "sample 1: rejected: is missing"},
    ]
    assert problem["detail"] == f"{problem['errors'][0]['detail']} (and 4 more)"


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize(("rows", "others"), [(1, ""), (16, " (and 15 more)"), (24, " (and at least 15 more)")])
def test_the_number_of_further_faults_is_no_more_than_is_known(redis_url: str, rows: int, others: str) -> None:
    samples = [{"language": "de", "prompt": "a", "chosen": "b"}] * rows
    problem = assert_problem(call(redis_url, "POST", "/filter", json={"samples": samples}), 422)
    assert problem["detail"] == f"sample 0: rejected: is missing{others}"


@pytest.mark.usefixtures("workers")
def test_an_unknown_aggregator_of_a_rescoring_is_pointed_at(redis_url: str) -> None:
    problem = assert_problem(call(redis_url, "POST", f"/jobs/{'0' * 32}/rescore", json={"aggregator": "median"}), 422)
    (error,) = problem["errors"]
    assert error["pointer"] == "/aggregator"
    assert error["detail"].startswith("aggregator: should be 'pcgrad', 'agreement', 'mean'")


@pytest.mark.usefixtures("workers")
def test_too_many_samples_and_too_many_bytes_are_413(redis_url: str) -> None:
    many = {"samples": [PAIR] * 100_000}
    problem = assert_problem(call(redis_url, "POST", "/filter", json=many), 413)
    assert "100000 samples in one request; at most 4096 are taken" in problem["detail"]
    response = call(redis_url, "POST", "/filter", options={"max_body_bytes": 100}, json={"samples": [PAIR] * 10})
    assert "more than 100 bytes" in assert_problem(response, 413)["detail"]

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10

    response = call(redis_url, "POST", "/filter", options={"max_body_bytes": 100}, content=pieces(), headers=JSON)
    assert "more than 100 bytes" in assert_problem(response, 413)["detail"]
    assert_nothing_written(redis_url)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/filter", None, 405),
        ("GET", "/jobs/unknown", None, 404),
        ("DELETE", "/jobs/unknown", None, 404),
        ("POST", "/jobs/unknown/rescore", b"{", 422),
        ("GET", "/directions/unknown", None, 404),
        ("DELETE", "/directions/unknown", None, 404),
        ("POST", "/filter", b"{", 422),
        ("POST", "/filter", b"\xff", 400),
        ("POST", "/filter", b"[1]", 422),
        ("POST", "/filter", b"", 422),
        ("POST", "/filter", b"[" * 100_000, 400),
    ],
)
def test_every_error_is_a_problem_document(
    method: str, path: str, content: bytes | None, status: int, redis_url: str
) -> None:
    problem = assert_problem(call(redis_url, method, path, content=content, headers=JSON), status)
    assert "instance" not in problem, "there is no job to name"


@pytest.mark.parametrize("path", ["/filter/filter", "/v1/models"])
def test_of_a_path_that_is_none_it_is_said_where_those_that_are_stand(path: str, redis_url: str) -> None:
    """As where a client's address ends in a route."""
    detail = assert_problem(call(redis_url, "GET", path), 404)["detail"]
    assert detail == "nothing is at this path; /openapi.json has all that there are"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/filter", "POST"),
        ("/jobs/x", "DELETE, GET, HEAD"),
        ("/jobs/x/rescore", "POST"),
        ("/directions/x", "DELETE, GET, HEAD"),
        ("/directions/x/state", "GET, HEAD, PUT"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_has_not_is_told_all_that_it_has(path: str, methods: str, redis_url: str) -> None:
    response = call(redis_url, "PATCH", path)
    assert_problem(response, 405)
    assert response.headers["allow"] == methods


def test_a_body_without_its_content_type_is_told_so(redis_url: str) -> None:
    problem = assert_problem(call(redis_url, "POST", "/filter", content=b"{}"), 422)
    assert problem["detail"] == "the body should be JSON, with Content-Type: application/json"


@pytest.mark.parametrize(
    ("content", "headers", "status", "detail"),
    [
        (b'{"samples": "\xff"}', {}, 400, "the body is not JSON that can be read: byte 13 of it is not UTF-8"),
        (b'{"samples": "\n"}', {}, 422, "the body is not JSON: Invalid control character at character 13"),
        (b"[" * 100_000, {}, 400, "the body is not JSON that can be read: it is nested too deeply"),
        (b"1" * 5_000, {}, 400, "the body is not JSON that can be read: Exceeds the limit (4300 digits)"),
        (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}, 415, "the body is encoded ('gzip'): send it as it is"),
    ],
    ids=["not UTF-8", "a control character", "nested", "a long number", "gzip"],
)
def test_what_cannot_be_read_is_told_why(
    content: bytes, headers: dict[str, str], status: int, detail: str, redis_url: str
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    problem = assert_problem(call(redis_url, "POST", "/filter", content=content, headers=headers), status)
    assert problem["detail"].startswith(detail)


def test_a_body_that_is_compressed_is_told_how_to_come(redis_url: str) -> None:
    for method, path, kind in (
        ("POST", "/filter", "application/json"),
        ("PUT", "/directions/x/state", "application/octet-stream"),
    ):
        headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
        response = call(redis_url, method, path, content=gzip.compress(b"{}"), headers=headers)
        assert assert_problem(response, 415)["detail"].startswith("the body is encoded ('gzip'): send it as it is")
        assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("content", [b"\xff" * 8, b"{}", b"null"])
def test_a_file_that_comes_as_json_is_told_what_it_should_come_as(content: bytes, redis_url: str) -> None:
    response = call(redis_url, "PUT", "/directions/x/state", content=content, headers=JSON)
    problem = assert_problem(response, 400)
    assert problem["detail"] == "the body should be a file, with Content-Type: application/octet-stream"


def test_a_preference_may_come_in_several_lines_and_is_one_string_in_the_document(redis_url: str) -> None:
    document = call(redis_url, "GET", "/openapi.json").json()
    (prefer,) = [one for one in document["paths"]["/filter"]["post"]["parameters"] if one["name"].lower() == "prefer"]
    assert {"type": "string"} in prefer["schema"]["anyOf"]
    assert not any(one["type"] == "array" for one in prefer["schema"]["anyOf"])


@pytest.mark.usefixtures("workers")
def test_no_line_of_a_preference_is_left_out(redis_url: str) -> None:
    for order in (("handling=lenient", "respond-async"), ("respond-async", "handling=lenient")):
        headers = [("Prefer", line) for line in order]
        response = call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers=headers)
        assert (response.status_code, response.headers["Preference-Applied"]) == (202, "respond-async")


def test_whoever_asks_for_the_head_alone_is_told_whether_it_lives(redis_url: str) -> None:
    assert call(redis_url, "HEAD", "/livez").status_code == 200
    assert call(redis_url, "HEAD", "/readyz").status_code == 503


@pytest.mark.usefixtures("workers")
def test_everything_but_livez_asks_for_the_token(redis_url: str) -> None:
    options = {"api_key": "secret"}
    assert call(redis_url, "GET", "/livez", options).status_code == 200
    for path in ("/readyz", "/checkpoints", "/directions", "/docs", "/openapi.json", "/nowhere", "/jobs/x"):
        response = call(redis_url, "GET", path, options)
        assert_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert_problem(call(redis_url, "GET", path, options, headers={"Authorization": "Bearer secre"}), 401)
    good = {"Authorization": "Bearer secret"}
    assert call(redis_url, "GET", "/readyz", options, headers=good).status_code == 200
    assert_problem(call(redis_url, "GET", "/nowhere", options, headers=good), 404)


def test_without_workers_the_service_is_live_but_not_ready(redis_url: str) -> None:
    assert call(redis_url, "GET", "/livez").status_code == 200
    response = call(redis_url, "GET", "/readyz")
    assert "gradients, decide" in assert_problem(response, 503)["detail"]
    assert int(response.headers["retry-after"]) > 0
    response = call(redis_url, "POST", "/filter", json={"samples": [PAIR]})
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_without_redis_the_service_is_live_and_says_503(redis_url: str) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    assert call(nowhere, "GET", "/livez").status_code == 200
    for method, path in (("GET", "/readyz"), ("GET", "/directions"), ("POST", "/filter")):
        response = call(nowhere, method, path, json={"samples": [PAIR]} if method == "POST" else None)
        problem = assert_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        assert "127.0.0.1" not in problem["detail"]
    assert call(redis_url, "GET", "/directions").json() == []


def test_a_redis_that_takes_connections_and_never_answers_is_not_waited_for_to_say_that_nothing_is_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        response = call("redis://{}:{}/0".format(*silent.getsockname()), "GET", "/readyz")
        assert time.monotonic() - begun < health.DEADLINE_S + 2
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


JOB_ROUTES = [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("POST", "/rescore"), ("POST", "/retry")]


@pytest.mark.parametrize(("method", "route"), JOB_ROUTES)
def test_an_id_that_no_job_can_have_is_404_before_redis_is_asked(method: str, route: str) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    request: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}, "json": {}} if method == "POST" else {}
    job_id = "0123456789abcdef" * 2
    assert_problem(call(nowhere, method, f"/jobs/{job_id}{route}", **request), 503)
    for wrong in (f"{job_id}:pending", f"{job_id}:chunk:0", job_id.upper(), job_id[1:], f"{job_id}%0A", "%00", "x"):
        problem = assert_problem(call(nowhere, method, f"/jobs/{wrong}{route}", **request), 404)
        assert problem["detail"].startswith("there is no job '")


def test_errors_are_documented_as_the_problem_documents_that_they_are(redis_url: str) -> None:
    document = call(redis_url, "GET", "/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len(operations) > 10
    for operation in operations:
        errors = {status: told["content"] for status, told in operation["responses"].items() if status >= "4"}
        (content_type,) = {name for content in errors.values() for name in content}
        assert errors.keys() - {"429"} == {"4XX", "503", "5XX"}
        for content in errors.values():
            assert content[content_type]["schema"] == {"$ref": "#/components/schemas/Problem"}
    schemas = document["components"]["schemas"]
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()
    for response in (call(redis_url, "GET", "/jobs/unknown"), call(redis_url, "POST", "/filter", json={"samples": []})):
        assert response.headers["content-type"] == content_type
        assert set(schemas["Problem"]["required"]) <= response.json().keys() <= schemas["Problem"]["properties"].keys()


@pytest.mark.usefixtures("workers")
def test_checkpoints_are_what_the_workers_announce(redis_url: str) -> None:
    (served,) = call(redis_url, "GET", "/checkpoints").json()
    assert served["name"] == "policy"
    assert served["workers"] == 1
    assert served["devices"] == ["cpu"]
    assert served["projection"] == {"kind": "kronecker", "rank": 64, "dim": 16, "seed": 0}


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "respond-async, wait=0", "x=y, Respond-Async"])
def test_a_wait_that_ends_first_is_answered_202(prefer: str, redis_url: str) -> None:
    response = call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers={"Prefer": prefer})
    assert response.status_code == 202
    job = call(redis_url, "GET", response.headers["location"]).json()
    assert (job["status"], job["progress"], job["samples"]) == ("queued", {"done": 0, "total": 1}, 1)
    assert response.headers["preference-applied"]


@pytest.mark.usefixtures("workers")
def test_tools_and_template_variables_reach_the_worker(redis_url: str) -> None:
    columns = {"tools": [TOOL], "chat_template_kwargs": {"enable_thinking": None}}
    headers = {"Prefer": "respond-async"}
    response = call(redis_url, "POST", "/filter", json={"samples": [PAIR | columns]}, headers=headers)
    store = Store(settings(redis_url))
    (sample,) = chunk_of(store, response.headers["location"].removeprefix("/jobs/"), 0) or []
    store.redis.close()
    assert sample.model_dump(exclude_none=True) == PAIR | columns | {"id": "0"}


@pytest.mark.usefixtures("workers")
def test_a_cancelled_job_stays_cancelled(redis_url: str) -> None:
    location = call(
        redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers={"Prefer": "respond-async"}
    ).headers["location"]
    for _ in range(2):
        job = call(redis_url, "DELETE", location).json()
        assert (job["status"], job["progress"]) == ("cancelled", {"done": 0, "total": 1})
    with redis.Redis.from_url(redis_url) as connection:
        job_id = location.removeprefix("/jobs/")
        assert not connection.exists(keys.chunk(job_id, 0), keys.pending(job_id))
        assert connection.zcard(keys.JOBS_ACTIVE) == 0


@pytest.mark.usefixtures("workers")
def test_an_idempotency_key_finds_its_job_and_refuses_another_body(redis_url: str) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "k1"}
    first = call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers=headers)
    again = call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers=headers)
    assert first.headers["location"] == again.headers["location"]
    other = call(redis_url, "POST", "/filter", json={"samples": [PAIR | {"prompt": "q"}]}, headers=headers)
    assert "used before with another body" in assert_problem(other, 422)["detail"]
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.zcard(keys.JOBS_ACTIVE) == 1
        assert connection.llen(keys.gradients_queue("f00d")) == 1


@pytest.mark.usefixtures("workers")
def test_a_full_queue_is_429(redis_url: str) -> None:
    headers = {"Prefer": "respond-async"}
    for _ in range(2):
        call(redis_url, "POST", "/filter", {"max_queue": 2}, json={"samples": [PAIR]}, headers=headers)
    response = call(redis_url, "POST", "/filter", {"max_queue": 2}, json={"samples": [PAIR]}, headers=headers)
    assert_problem(response, 429)
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.usefixtures("workers")
def test_a_direction_of_another_checkpoint_is_409(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        connection.hset(keys.direction("default"), "fingerprint", "another")
    response = call(redis_url, "POST", "/filter", json={"samples": [PAIR]})
    assert "belongs to checkpoint another" in assert_problem(response, 409)["detail"]


@pytest.mark.usefixtures("workers")
def test_a_checkpoint_can_be_asked_for(redis_url: str) -> None:
    headers = {"Prefer": "respond-async"}
    body = {"samples": [PAIR], "checkpoint": "policy"}
    assert call(redis_url, "POST", "/filter", json=body, headers=headers).status_code == 202
    response = call(redis_url, "POST", "/filter", json=body | {"checkpoint": "other"}, headers=headers)
    assert "no worker serves checkpoint 'other'; served: policy (f00d)" in assert_problem(response, 503)["detail"]


@pytest.mark.usefixtures("workers")
def test_a_known_key_is_answered_whatever_has_become_of_workers_and_directions(redis_url: str) -> None:
    headers = {"Prefer": "respond-async", "Idempotency-Key": "k2"}
    first = call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers=headers)
    with redis.Redis.from_url(redis_url) as connection:
        connection.hset(keys.direction("default"), "fingerprint", "another")
        connection.delete(keys.workers(Role.GRADIENTS))
    again = call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers=headers)
    assert again.status_code == 202
    assert again.headers["location"] == first.headers["location"]


@pytest.mark.usefixtures("workers")
def test_a_queue_that_cannot_be_reached_is_503_and_holds_no_place(redis_url: str) -> None:
    options = {"broker_url": "redis://127.0.0.1:1/0"}
    headers = {"Idempotency-Key": "k3", "Prefer": "respond-async"}
    response = call(redis_url, "POST", "/filter", options, json={"samples": [PAIR]}, headers=headers)
    problem = assert_problem(response, 503)
    assert problem["detail"] == "the queue cannot be reached"
    assert int(response.headers["retry-after"]) > 0
    assert call(redis_url, "GET", problem["instance"]).json()["error"] == problem
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.zcard(keys.JOBS_ACTIVE) == 0
    # Under the same key it may be tried again.
    assert call(redis_url, "POST", "/filter", json={"samples": [PAIR]}, headers=headers).status_code == 202


def test_an_empty_api_key_is_none(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGRAD_API_KEY", "")
    assert ServiceSettings(redis_url=redis_url).api_key is None


def test_whoever_waits_for_a_job_that_redis_has_lost_is_told_to_send_it_again(redis_url: str, store: Store) -> None:
    """As by a failover. It was no mistake in the request, and under its key it is made anew."""

    async def post() -> None:
        async with service(redis_url) as client:
            body, headers = {"samples": [PAIR]}, {"Idempotency-Key": "k"}
            asking = asyncio.create_task(client.post("/filter", json=body, headers=headers))
            while not (jobs := (await client.get("/jobs")).json()):  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)
            store.redis.flushall()
            response = await asking
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert response.json()["detail"] == (
                f"the store of jobs and directions has lost job {jobs[0]['id']}; send the request again"
            )
            announce_workers(redis_url)
            again = await client.post("/filter", json=body, headers=headers | {"Prefer": "respond-async"})
            assert again.status_code == 202
            assert again.json()["id"] != jobs[0]["id"]

    asyncio.run(post())


def test_a_redis_that_takes_no_writes_is_not_called_silent(redis_url: str, store: Store) -> None:
    async def post() -> None:
        async with service(redis_url) as client:
            with read_only(store.redis):
                response = await client.post("/filter", json={"samples": [PAIR]})
            assert response.status_code == 503
            assert response.json()["detail"] == "the store of jobs and directions takes no writes now"

    asyncio.run(post())
