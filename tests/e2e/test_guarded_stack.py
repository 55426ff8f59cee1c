"""A stack as it is run in earnest: tokens with roles and teams, a Redis behind TLS that grants what it must. What its
parts write holds no secret and no text of a sample.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from celery import Celery
from congrad import AuthenticationError, Client, PermissionDeniedError
from congrad.contract.tokens import Role
from congrad_service.queue.queue import celery_app
from congrad_worker.tasks.store import Store
from kombu.exceptions import OperationalError
from support.commands import run
from support.guarded_redis import PASSWORD, QUOTED, GuardedRedis, guarded_redis, make_certificates
from support.pairs import demo_samples
from support.parts import running_parts
from support.serving import settings
from support.tokens import bearer, write_tokens

TEXT = "text-marker"
"""In every text of a sample that is sent here."""

READ, FILTER, ADMIN, OTHER, WRONG = (f"{name}-marker-secret" for name in ("read", "filter", "admin", "other", "wrong"))
TOKENS = ((READ, Role.READ, "nlp"), (FILTER, Role.FILTER, "nlp"), (ADMIN, Role.ADMIN, "nlp"), (OTHER, Role.ADMIN, "x"))


@dataclass(frozen=True)
class Guarded:
    """A running stack."""

    url: str
    redis: GuardedRedis
    log: Path

    def ask(self, token: str, method: str, path: str, **request: Any) -> httpx.Response:
        headers = bearer(token) | request.pop("headers", {})
        return httpx.request(method, self.url + path, headers=headers, timeout=60, **request)

    def filter(self, token: str, **body: Any) -> httpx.Response:
        return self.ask(token, "POST", "/filter", json={"samples": samples(), **body})


def samples(*languages: str) -> list[dict[str, Any]]:
    """Real pairs, with the marker in each text."""
    texts = ("prompt", "chosen", "rejected")
    rows = demo_samples(*(languages or ("de", "fr")), each=3)
    return [row | {name: f"{row[name]} {TEXT}" for name in texts if name in row} for row in rows]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Three parts, whose tokens and Redis have markers in all that is secret."""
    folder = tmp_path_factory.mktemp("guarded")
    keys_file = write_tokens(folder / "tokens.toml", *TOKENS)
    log = folder / "log"
    with (
        guarded_redis(folder) as server,
        running_parts(server.url, log, READ, CONGRAD_API_KEYS_FILE=str(keys_file)) as stack,
    ):
        yield Guarded(stack.url, server, log)
        stack.kill_all_but_redis()  # in order they would wait for Redis


def test_everything_works_with_the_rights_that_the_docs_give(guarded: Guarded) -> None:
    guarded.redis.admin.acl_log_reset()
    headers = {"Idempotency-Key": "k"}
    body = {"samples": samples(), "retain": True, "direction": "rights"}
    answer = guarded.ask(FILTER, "POST", "/filter", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    job = answer.json()["job_id"]
    assert guarded.ask(FILTER, "POST", "/filter", json=body, headers=headers).json()["job_id"] == job
    assert guarded.ask(FILTER, "POST", f"/jobs/{job}/rescore", json={}).status_code == 200
    assert guarded.ask(READ, "GET", f"/jobs/{job}/events").text.startswith("event: succeeded")
    assert guarded.filter(FILTER, update=False, direction="rights").status_code == 200
    late = guarded.ask(FILTER, "POST", "/filter", json=body, headers={"Prefer": "respond-async"}).json()["id"]
    assert guarded.ask(FILTER, "DELETE", f"/jobs/{late}").status_code == 200
    views = [f"/directions/rights/{view}" for view in ("scores", "history", "conflicts")]
    for path in ("/jobs", "/workers", "/queue", *views):
        assert guarded.ask(READ, "GET", path).status_code == 200
    state = guarded.ask(READ, "GET", "/directions/rights/state").content
    assert guarded.ask(ADMIN, "PUT", "/directions/copy/state", content=state).status_code == 201
    assert {row["name"] for row in guarded.ask(READ, "GET", "/directions").json()} >= {"rights", "copy"}
    assert guarded.ask(ADMIN, "DELETE", "/directions/copy").status_code == 204
    denied = [(entry["reason"], entry["object"]) for entry in guarded.redis.admin.acl_log()]
    # Libraries introduce themselves by a command that servers may lack, and are not put out.
    assert set(denied) <= {("command", "client"), ("command", "client|setinfo")}


def test_a_task_whose_worker_has_vanished_is_given_to_another_with_these_rights_too(guarded: Guarded) -> None:
    admin = guarded.redis.admin
    admin.acl_log_reset()
    with celery_app("test", settings(guarded.redis.url)) as app, app.connection_for_write() as connection:
        queue = connection.SimpleQueue("congrad.vanished")
        queue.put({"n": 1})
        taken = queue.get(timeout=5)
        assert admin.zadd("unacked_index", {taken.delivery_tag: 1}) == 0  # taken in 1970, and never acknowledged
        again = queue.get(timeout=30)  # the stack's workers look for such tasks every second
        assert (again.payload, again.headers["redelivered"]) == ({"n": 1}, True)
        again.ack()
    assert {entry["reason"] for entry in admin.acl_log()} <= {"command"}


@pytest.mark.parametrize(
    ("command", "right"),
    [
        (("FLUSHALL",), "flushall"),
        (("KEYS", "*"), "keys"),
        (("SCAN", "0"), "scan"),
        (("RANDOMKEY",), "randomkey"),
        (("DBSIZE",), "dbsize"),
        (("SCRIPT", "FLUSH"), "script"),
        (("SCRIPT", "KILL"), "script"),
        (("CONFIG", "GET", "*"), "config"),
        (("ACL", "LIST"), "acl"),
        (("SHUTDOWN",), "shutdown"),
        (("MONITOR",), "monitor"),
        (("GET", "other"), "key"),
        (("SET", "celery", "x"), "key"),
        (("PUBLISH", "other", "x"), "channel"),
    ],
)
def test_the_rights_go_no_further_than_that(command: tuple[str, ...], right: str, guarded: Guarded) -> None:
    with redis.Redis.from_url(guarded.redis.url) as own, pytest.raises(redis.exceptions.NoPermissionError) as caught:
        own.execute_command(*command)
    assert right in str(caught.value)


def test_neither_service_nor_workers_nor_celery_talk_to_a_redis_that_cannot_be_trusted(
    guarded: Guarded, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path / "other").authority
    without, _, _ = guarded.redis.url.partition("?")
    found = settings(f"{without}?ssl_ca_certs={stranger}")
    store = Store(found)
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        store.redis.ping()
    store.redis.close()
    for distrustful in (found, settings(without)):
        with pytest.raises(OperationalError, match="certificate verify failed"):
            _connect(celery_app("test", distrustful))
    _connect(celery_app("test", settings(guarded.redis.url)))


def _connect(app: Celery) -> None:
    """Connects as a worker does."""
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_the_sdk_and_the_command_tell_a_missing_token_from_one_that_is_too_weak(guarded: Guarded) -> None:
    with Client(guarded.url, WRONG, max_retries=0) as client, pytest.raises(AuthenticationError):
        client.directions.list()
    with Client(guarded.url, READ, max_retries=0) as client, pytest.raises(PermissionDeniedError) as caught:
        client.filter(samples())
    assert "needs a token of role 'filter'" in str(caught.value)
    at = ("--url", guarded.url)
    weak = run("direction", "reset", "x", "--yes", *at, "--api-key", FILTER)
    assert weak.returncode == 1
    assert "needs a token of role 'admin'" in weak.stderr
    assert "congrad token NAME --role ROLE" in weak.stderr
    for token, code, shown in ((READ, 0, ": ready"), (WRONG, 1, ": cannot be seen: a valid bearer token is needed")):
        status = run("status", *at, "--api-key", token)
        assert status.returncode == code
        assert f"{guarded.url}{shown}" in status.stdout
        assert ("set CONGRAD_API_KEY to a token" in status.stderr) == (token == WRONG)
        assert run("doctor", *at, "--api-key", token).returncode == code


def test_no_secret_and_no_text_of_a_sample_is_in_any_log_or_error(guarded: Guarded) -> None:
    good = guarded.filter(FILTER, direction="logged")
    assert good.status_code == 200
    answers = [
        guarded.filter(WRONG),
        guarded.filter(READ),
        guarded.filter(OTHER, direction="logged", update=False),
        guarded.ask(OTHER, "GET", f"/jobs/{good.json()['job_id']}"),
        guarded.ask(WRONG, "GET", f"/directions?token={ADMIN}"),
        guarded.ask(FILTER, "POST", "/filter", content=TEXT, headers={"Content-Type": "application/json"}),
        guarded.ask(FILTER, "POST", "/filter", content=TEXT),
        *(guarded.ask(FILTER, "POST", "/filter", json={"samples": [*samples(), row]}) for row in refused()),
    ]
    assert [answer.status_code for answer in answers[:5]] == [401, 403, 200, 404, 401]
    assert {answer.status_code for answer in answers[5:-2]} == {422}
    assert [answer.json()["decisions"][-1]["reason"] for answer in answers[-2:]] == [
        "prompt_too_long",
        "template_refused",
    ]
    for answer in answers:
        _assert_no_markers(answer.text)
    written = guarded.log.read_text()
    for line in ('"POST /filter HTTP/1.1" 200', '"GET /directions HTTP/1.1" 401', "Task congrad.decide["):
        assert line in written
    _assert_no_markers(written)
    _assert_no_markers(guarded.redis.log.read_text())


def refused() -> list[Mapping[str, Any]]:
    """Samples with something wrong in or beside their texts, for the service and for the worker to find."""
    good = samples("hi")[0]
    turn = {"role": "narrator", "content": TEXT}  # whom the checkpoint's template does not know
    return [
        good | {"chosen": [TEXT, TEXT]},
        good | {"chosen": {"text": TEXT}},
        good | {"chosen": TEXT, "prompt": None},
        good | {"tools": TEXT},
        good | {"ref_chosen_logps": TEXT, "ref_rejected_logps": 1.0},
        good | {"colour": TEXT},
        good | {"prompt": TEXT * 400},
        {"language": "de", "chosen": [turn, turn | {"name": "a"}], "rejected": [turn, turn | {"name": "b"}]},
    ]


def test_nothing_secret_is_said_while_redis_is_away(guarded: Guarded) -> None:
    """The last test here: Redis does not come back."""
    before = len(guarded.log.read_text())
    assert guarded.filter(FILTER).status_code == 200
    guarded.redis.process.terminate()
    guarded.redis.process.wait()
    problem = guarded.ask(READ, "GET", "/directions")
    assert problem.status_code == 503
    wanted = ("lost the subscription", "no heartbeat", "Connection to broker lost", "Cannot connect to rediss://")
    deadline = time.monotonic() + 60
    while missing := [text for text in wanted if text not in guarded.log.read_text()[before:]]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)  # a log tells nobody that it grows
    _assert_no_markers(problem.text)
    _assert_no_markers(guarded.log.read_text())
    _assert_no_markers(guarded.redis.log.read_text())


def _assert_no_markers(text: str) -> None:
    for secret in (TEXT, PASSWORD, QUOTED, "rd-marker", READ, FILTER, ADMIN, OTHER, WRONG):
        assert secret not in text, text[max(0, text.find(secret) - 500) : text.find(secret) + 200]
