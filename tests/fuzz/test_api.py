"""Requests made up from the OpenAPI document, valid and not, alone and in sequences: the service keeps its word.

No answer is a 5xx but a documented 503, each conforms to the document (status, content type, schema, headers), and what
the document does not allow is refused.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from congrad_service.app import create_app
from congrad_worker.tasks.store import Store
from fastapi import FastAPI
from hypothesis import HealthCheck, seed
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import Case, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.errors import InvalidSchema
from schemathesis.python import asgi
from schemathesis.specs.openapi import checks
from starlette.types import Receive, Scope, Send
from support.fuzzing import FACTOR, examples
from support.hands import do_all, hands
from support.serving import announce_workers, settings

SLOW = list(HealthCheck)
"""Whole requests are slow for an example, and the schema of samples is large."""

schemathesis.openapi.format("bcp47", st.sampled_from(["de", "fr", "zh-Hant", "pt_br", "sw"]))


SAMPLES: Any = [{"language": tag, "chosen": "c", "rejected": "r"} for tag in ("de", "fr", "de", "sw")]


class Served:
    """The service, over the Redis that there is once tests run; the document is needed when they are collected."""

    redis_url = ""
    app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


SERVED = Served()
SCHEMA = schemathesis.openapi.from_dict(create_app(settings("redis://127.0.0.1:1/0")).openapi()).exclude(
    path="/events"  # has no end
)
SCHEMA.app = SERVED


@pytest.fixture(scope="module", autouse=True)
def service(redis_server: str) -> Iterator[None]:
    """The service, for as long as the tests of this file run."""
    SERVED.redis_url = redis_server
    SERVED.app = create_app(settings(redis_server, keep_texts=True, trusted_hosts="*"))
    yield
    asgi.shutdown_lifespans()


@pytest.fixture
def workers(redis_url: str) -> Iterator[None]:
    with hands(redis_url):
        yield


NOT_MEANT = [
    # The schema cannot say all that is refused: fields that depend on each other, tags, what a safetensors file is.
    checks.positive_data_acceptance,
    # A job that was cancelled is there to be looked at.
    checks.use_after_free,
    # 503 is for checkpoints that no worker serves.
    not_a_server_error,
]


def check(case: Case[Any], response: Response) -> None:
    """Whether the answer is one that the document allows."""
    case.validate_response(response, excluded_checks=NOT_MEANT)
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        assert "no worker serves checkpoint" in response.json()["detail"]
    else:
        assert response.status_code < 500, response.text


@pytest.mark.usefixtures("workers")
@pytest.mark.xfail(FACTOR > 0, raises=InvalidSchema, reason="now and then schemathesis cannot make what it wants to")
@SCHEMA.parametrize()
@examples(8, suppress_health_check=SLOW)
def test_single_requests(case: Case[Any]) -> None:
    check(case, case.call())


def _is_meant(case: Case[Any]) -> bool:
    """Whether the document allows the request."""
    return case.meta is not None and case.meta.generation.mode.is_positive


SUCCEEDED: set[str] = set()
"""Operations that have succeeded in a sequence."""


class Sequences(SCHEMA.as_state_machine()):  # type: ignore[misc]
    """Requests that follow from the answers to earlier ones. What a job's tasks do is done before the next request,
    but for one that cancels."""

    exported: bytes | None = None

    def setup(self) -> None:
        self.store = Store(settings(SERVED.redis_url, keep_texts=True))
        self.store.redis.flushall()
        announce_workers(SERVED.redis_url)

    def teardown(self) -> None:
        self.store.redis.close()

    def before_call(self, case: Case[Any]) -> None:
        if case.operation.label != "DELETE /jobs/{job_id}":
            do_all(self.store)
        if case.operation.method == "post":
            case.headers["Prefer"] = "respond-async"  # nobody works meanwhile
        if case.operation.label == "POST /filter" and _is_meant(case):
            # What is wrong with a sample is what single requests are about.
            body: Any = case.body
            case.body = {**body, "samples": SAMPLES, "retain": True}
            case.body.pop("checkpoint", None)
        if case.operation.label == "PUT /directions/{name}/state" and self.exported is not None:
            case.body = self.exported

    def validate_response(self, response: Response, case: Case[Any], **_: Any) -> None:
        if response.status_code < 300:
            SUCCEEDED.add(case.operation.label)
            if case.operation.label == "GET /directions/{name}/state":
                self.exported = response.content
        check(case, response)


ROUNDS = 4
"""Of sequences, at most. Hypothesis draws from the constants of all modules that happen to be loaded, so that what so
few get to is chance; where requests that the document allows are refused, none gets anywhere."""


def test_sequences_of_requests() -> None:
    several = examples(15, stateful_step_count=12, suppress_health_check=SLOW)
    for number in range(ROUNDS):
        run_state_machine_as_test(Sequences if FACTOR else seed(number)(Sequences), settings=several)
        if "POST /filter" in SUCCEEDED and len(SUCCEEDED) >= 5:
            return
    pytest.fail(f"nothing else has succeeded than {sorted(SUCCEEDED)}")
