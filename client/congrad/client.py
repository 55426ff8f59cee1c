"""The client of the HTTP contract."""

import json
import math
import os
import random
import time
import uuid
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import TypeAdapter, ValidationError

from congrad import wire
from congrad.errors import APIConnectionError, APITimeoutError, CongradError, JobNotFinishedError, status_error

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
DEFAULT_RETRIES = 2
WAIT_S = 30
"""Seconds that the service holds a request; a longer job is asked for, so that no proxy on the way loses patience."""
POLL_S = 1.0
RETRIED = frozenset({408, 429}) | frozenset(range(500, 600))
MAX_RETRY_AFTER_S = 120.0
"""A service that asks for more patience than this is not asked again."""

_CHECKPOINTS = TypeAdapter(list[wire.Checkpoint])
_DIRECTIONS = TypeAdapter(list[wire.DirectionSummary])


class Client:
    """A connection to a CONGRAD service.

    :param base_url: default ``CONGRAD_BASE_URL``, else ``http://127.0.0.1:8000``.
    :param api_key: default ``CONGRAD_API_KEY``, else none.
    :param timeout: of each attempt.
    :param max_retries: further attempts after connection errors, timeouts, 408, 429 and 5xx, with exponential
        backoff or as long as ``Retry-After`` says.
    :param transport: an httpx transport to use instead of the network.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: httpx.Timeout | float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        transport: httpx.BaseTransport | None = None,
    ):
        api_key = api_key if api_key is not None else os.environ.get("CONGRAD_API_KEY")
        self._max_retries = max_retries
        self._http = httpx.Client(
            base_url=base_url or os.environ.get("CONGRAD_BASE_URL", DEFAULT_BASE_URL),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def filter(
        self,
        samples: Iterable[wire.Sample | Mapping[str, Any]],
        *,
        direction: str = "default",
        update: bool = True,
        selection: wire.ThresholdSelection | wire.FractionSelection | Mapping[str, Any] | None = None,
        checkpoint: str | None = None,
        idempotency_key: str | None = None,
    ) -> wire.FilterResult:
        """Scores one batch of preference pairs and says which to keep.

        :param samples: `wire.Sample` or mappings with its fields. One request: the service's limits apply.
        :param update: whether the samples are folded into the direction before they are scored.
        :param selection: default: keep what has a conflict score of at most 0.
        :param idempotency_key: under one key a batch is folded in once; one is made for each call, for its retries.
        :raises CongradError: one of the tree in `congrad.errors`.
        """
        body: dict[str, Any] = {"samples": [_as_json(s) for s in samples], "direction": direction, "update": update}
        if selection is not None:
            body["selection"] = _as_json(selection)
        if checkpoint is not None:
            body["checkpoint"] = checkpoint
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key or uuid.uuid4().hex,
            "Prefer": f"wait={WAIT_S}",
        }
        response = self._request("POST", "/filter", content=_encode(body), headers=headers)
        if response.status_code == HTTPStatus.ACCEPTED:
            return self._wait(wire.Job.model_validate_json(response.content))
        return wire.FilterResult.model_validate_json(response.content)

    def _wait(self, job: wire.Job) -> wire.FilterResult:
        """Asks for a job until it has ended: the service answers before it stops, and its successor knows the job.

        :raises JobNotFinishedError: it has not ended within the read timeout, or was cancelled.
        """
        deadline = time.monotonic() + (self._http.timeout.read or math.inf)
        while not job.status.ended and time.monotonic() < deadline:
            time.sleep(POLL_S)
            job = self.job(job.id)
        if job.error is not None:
            raise status_error(job.error)
        if job.result is None:
            raise JobNotFinishedError(job)
        return job.result

    def job(self, job_id: str) -> wire.Job:
        """The state of a job."""
        return wire.Job.model_validate_json(self._request("GET", f"/jobs/{job_id}").content)

    def directions(self) -> list[wire.DirectionSummary]:
        """All directions."""
        return _DIRECTIONS.validate_json(self._request("GET", "/directions").content)

    def direction(self, name: str = "default") -> wire.Direction:
        """One direction."""
        return wire.Direction.model_validate_json(self._request("GET", f"/directions/{name}").content)

    def reset_direction(self, name: str = "default") -> None:
        """Forgets a direction."""
        self._request("DELETE", f"/directions/{name}")

    def checkpoints(self) -> list[wire.Checkpoint]:
        """What the live workers serve."""
        return _CHECKPOINTS.validate_json(self._request("GET", "/checkpoints").content)

    def is_ready(self) -> bool:
        """Whether the service, Redis and its workers are there."""
        try:
            return self._http.get("/readyz", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        for attempt in range(self._max_retries + 1):
            last = attempt == self._max_retries
            try:
                response = self._http.request(method, path, **options)
            except httpx.TimeoutException as error:
                if last:
                    raise APITimeoutError(f"{self._http.base_url} did not answer in time") from error
            except httpx.TransportError as error:
                if last:
                    raise APIConnectionError(f"{self._http.base_url} cannot be reached: {error}") from error
            else:
                pause = _pause(response, attempt)
                if response.is_success:
                    return response
                if last or response.status_code not in RETRIED or pause > MAX_RETRY_AFTER_S:
                    raise status_error(_problem(response))
                time.sleep(pause)
                continue
            time.sleep(_backoff(attempt))
        raise AssertionError("the last attempt returns or raises")


def _as_json(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else dict(value)


def _encode(body: Any) -> bytes:
    """:raises CongradError: the samples hold something that JSON has no form for."""
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # UnicodeEncodeError is one of the latter
        raise CongradError(f"the samples cannot be sent: {error}") from error


def _backoff(attempt: int) -> float:
    """Seconds: 0.5, 1, 2, 4, 8, 8, ..., each up to a quarter shorter, so that clients do not return in step."""
    return min(0.5 * 2.0**attempt, 8.0) * random.uniform(0.75, 1.0)  # noqa: S311 # jitter


def _pause(response: httpx.Response, attempt: int) -> float:
    after = response.headers.get("Retry-After", "")
    return float(after) if after.isascii() and after.isdigit() else _backoff(attempt)


def _problem(response: httpx.Response) -> wire.Problem:
    """The problem document of an answer; one made up where something on the way answered for the service."""
    try:
        return wire.Problem.model_validate_json(response.content)
    except ValidationError:
        return wire.Problem(
            title=response.reason_phrase, status=response.status_code, detail=response.text[:500] or "no detail"
        )
