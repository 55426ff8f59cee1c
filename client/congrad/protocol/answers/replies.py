"""What came back, read: as a model of the contract, or as the error that it is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from congrad.contract import wire
from congrad.errors import APIResponseError, APIStatusError
from congrad.protocol.answers.classify import status_error

T = TypeVar("T")

NOT_OURS = "not as CONGRAD answers: something else is at this address, or on the way to the service"


@dataclass(frozen=True)
class Reply:
    """What came back, whole."""

    status: int
    headers: httpx.Headers
    content: bytes


Parse = Callable[[Reply], T]


def parse_as(model: Any) -> Parse[Any]:
    """Reads an answer as a model of the contract."""

    # Built once, for the first such answer: to build one takes longer than to read most of them.
    @cache
    def adapter() -> TypeAdapter[Any]:
        return TypeAdapter(model)

    def parse(reply: Reply) -> Any:
        try:
            return adapter().validate_json(reply.content)
        except ValidationError as error:
            raise _no_answer(reply) from error

    return parse


CHECKPOINTS: Parse[list[wire.Checkpoint]] = parse_as(list[wire.Checkpoint])
DIRECTIONS: Parse[list[wire.DirectionSummary]] = parse_as(list[wire.DirectionSummary])
DIRECTION: Parse[wire.Direction] = parse_as(wire.Direction)
JOB: Parse[wire.Job] = parse_as(wire.Job)
JOBS: Parse[list[wire.JobSummary]] = parse_as(list[wire.JobSummary])
SCORES: Parse[wire.DirectionScores] = parse_as(wire.DirectionScores)
HISTORY: Parse[list[wire.HistoryEntry]] = parse_as(list[wire.HistoryEntry])
CONFLICTS: Parse[wire.DirectionConflicts] = parse_as(wire.DirectionConflicts)
WORKERS: Parse[list[wire.Worker]] = parse_as(list[wire.Worker])
QUEUE: Parse[wire.Queue] = parse_as(wire.Queue)
PUBLICATION: Parse[wire.Publication] = parse_as(wire.Publication)
ORDER: Parse[wire.Order] = parse_as(wire.Order)
RESULT: Parse[wire.FilterResult] = parse_as(wire.FilterResult)
READY: Parse[dict[str, str]] = parse_as(dict[str, str])


def nothing(reply: Reply) -> None:
    """The answer 204."""
    if reply.status != HTTPStatus.NO_CONTENT:
        raise _no_answer(reply)


def safetensors_of(reply: Reply) -> bytes:
    """A file of tensors: the length of a header, the header, JSON, and the data."""
    length = int.from_bytes(reply.content[:8], "little")
    if length > len(reply.content) - 8 or reply.content[8:9] != b"{":
        raise _no_answer(reply)
    return reply.content


def answer_of(reply: Reply) -> wire.FilterResult | wire.Job:
    """The decisions, or the job to wait for."""
    return JOB(reply) if reply.status == HTTPStatus.ACCEPTED else RESULT(reply)


def checked(reply: Reply, parse: Parse[T]) -> T:
    """What an answer says.

    :raises CongradError: it is no success, or no answer of the service.
    """
    if 200 <= reply.status < 300:
        return parse(reply)
    raise failure(reply)


def failure(reply: Reply) -> APIStatusError:
    """The error that an answer other than 2xx is."""
    return status_error(_problem(reply), reply.headers.get("X-Request-ID"))


def _problem(reply: Reply) -> wire.Problem:
    """The problem document of an answer; one made up where something on the way answered for the service."""
    try:
        # The status line counts: what is on the way may have put its own there, and left the body as it was.
        return wire.Problem.model_validate_json(reply.content).model_copy(update={"status": reply.status})
    except ValidationError:
        phrase = httpx.codes.get_reason_phrase(reply.status) or "Unknown"
        shown = " ".join(_beginning(reply).split())  # pages are of many lines
        detail = f"{NOT_OURS}: {shown}" if shown else NOT_OURS
        # Not followed: a token is for the address that it was given for.
        if 300 <= reply.status < 400 and (to := reply.headers.get("Location")):
            detail = f"it is at {to}; base_url should be the address of the service itself"
        return wire.Problem(title=phrase, status=reply.status, detail=detail)


def _no_answer(reply: Reply) -> APIResponseError:
    message = f"{reply.status} with what is no answer of the service: {_beginning(reply)!r}"
    return APIResponseError(message, reply.status, _beginning(reply))


def _beginning(reply: Reply) -> str:
    return reply.content[:500].decode(errors="replace")
