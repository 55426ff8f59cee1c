"""Every error of the application as an RFC 9457 problem document, the framework's own included."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from congrad.contract import wire
from congrad.contract.validation.bounded import has_unseen
from congrad.contract.validation.faults import message_of, path_in, told
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from congrad_service.http import request_id
from congrad_service.http.errors import (
    MAX_ERRORS,
    RETRY_AFTER_S,
    BadRequest,
    ServiceError,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
    pointer,
    problem_of,
    sample_name,
)

MEDIA_TYPE = "application/problem+json"

# `wire.Job` brings the schema in. FastAPI would declare a model, named here, as plain JSON.
_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RETRY_AFTER = {"Retry-After": {"description": "In seconds.", "required": True, "schema": {"type": "integer"}}}

RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What is wrong with the request.", "content": _CONTENT},
    "5XX": {"description": "What is wrong with the service.", "content": _CONTENT},
    503: {"description": "No worker, or no Redis.", "content": _CONTENT, "headers": _RETRY_AFTER},
}
"""How OpenAPI tells of them."""

QUEUE_FULL: dict[int | str, dict[str, Any]] = {
    429: {"description": "The queue is full.", "content": _CONTENT, "headers": _RETRY_AFTER}
}
"""The same, for routes that make jobs."""

NO_FILE = "the body should be a file, with Content-Type: {}"

NOTHING_THERE = "nothing is at this path; /openapi.json has all that there are"

METHODS = ("DELETE", "GET", "POST", "PUT")


def response(problem: wire.Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The problem document as a response."""
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, problem.status, headers, media_type=MEDIA_TYPE)


def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    return response(problem_of(error), error.headers)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.BAD_REQUEST and error.__cause__ is not None:
        unreadable = _unreadable(request, error.__cause__)
        return response(problem_of(unreadable), unreadable.headers)
    detail = str(error.detail)
    if status is HTTPStatus.NOT_FOUND and detail == status.phrase:  # of no route, as where an address has one too many
        detail = NOTHING_THERE
    problem = wire.Problem(title=status.phrase, status=status, detail=detail)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    return response(problem, headers)


def _unreadable(request: Request, cause: BaseException) -> ServiceError:
    """A body that cannot be parsed, for another reason than its grammar: FastAPI says of it no more than that."""
    if (encoded := encoded_body(request)) is not None:
        return encoded
    wanted = _wanted(request)
    if wanted != "application/json":
        return BadRequest(NO_FILE.format(wanted))
    match cause:
        case UnicodeDecodeError():
            reason = f"byte {cause.start} of it is not UTF-8"
        case RecursionError():
            reason = "it is nested too deeply"
        case _:
            reason = str(cause).partition(";")[0]
    detail = f"the body is not JSON that can be read: {reason}"
    return BadRequest(detail, [wire.ProblemError(pointer="", detail=detail)])


def encoded_body(request: Request) -> ServiceError | None:
    """That the body came compressed, which is not undone here; None where it did not."""
    encoding = request.headers.get("content-encoding") or "identity"
    if encoding.lower() == "identity":
        return None
    return UnsupportedMediaType(f"the body is encoded ({encoding!r}): send it as it is, without Content-Encoding")


def _wanted(request: Request) -> str:
    """The media type of the body that the request's route takes."""
    wanted: str = getattr(request.scope["route"].body_field.field_info, "media_type", "application/json")
    return wanted


def _allowed(request: Request) -> list[str]:
    """The methods of the request's path. Starlette knows those of the first route that has it, and there are more."""

    def is_served(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    served = [method for method in METHODS if is_served(method)]
    return sorted([*served, "HEAD"]) if "GET" in served else served  # as `heads.py` answers it


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = told(error.errors())
    if any(fault["type"] == "bytes_type" for fault in faults):  # it was sent as JSON, and is some
        return response(problem_of(BadRequest(NO_FILE.format(_wanted(request)))))
    errors = [_fault(fault, error.body) for fault in faults[:MAX_ERRORS]]
    return response(problem_of(Unprocessable(errors[0].detail + _others(faults, error.body), errors)))


def _others(faults: Sequence[Mapping[str, Any]], body: Any) -> str:
    """How many more faults there are, as far as is known: nobody looks at the samples behind the first wrong ones."""
    samples = body.get("samples") if isinstance(body, dict) else None
    places = [fault["loc"][2:] for fault in faults if fault["loc"][:2] == ("body", "samples")]
    least = "at least " if isinstance(samples, list) and has_unseen(places, samples) else ""
    return f" (and {least}{len(faults) - 1} more)" if len(faults) > 1 else ""


def _on_redis(_: Request, error: Exception) -> JSONResponse:
    # Redis's own message can hold its address and its commands: neither is the client's business.
    said = str(error)  # what it refuses within a script comes as an error of the script
    if "OOM command not allowed" in said:
        fault = "has no memory left"
    elif "READONLY" in said or "MISCONF" in said:  # it fails over, or its disk is full
        fault = "takes no writes now"
    else:
        fault = f"did not answer ({type(error).__name__})"
    detail = f"the store of jobs and directions {fault}"
    unavailable = Unavailable(detail, retry_after=RETRY_AFTER_S)
    return response(problem_of(unavailable), unavailable.headers)


def _on_unexpected(_: Request, __: Exception) -> JSONResponse:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    problem = wire.Problem(title=status.phrase, status=status, detail="unexpected error; see the log")
    return response(problem, request_id.headers())


def _fault(fault: Mapping[str, Any], body: Any) -> wire.ProblemError:
    """One of pydantic's errors, with a pointer into the body and the sample named by index and id."""
    where, *loc = fault["loc"]
    if where != "body":
        return wire.ProblemError(pointer="", detail=f"{where} {'.'.join(map(str, loc))}: {fault['msg']}")
    if fault["type"] == "json_invalid":
        reason = fault.get("ctx", {}).get("error", "").removesuffix(" at")
        return wire.ProblemError(pointer="", detail=f"the body is not JSON: {reason} at character {loc[0]}")
    if isinstance(body, bytes):  # left unparsed: without the content type it could come from any web page's form
        return wire.ProblemError(pointer="", detail="the body should be JSON, with Content-Type: application/json")
    if loc[:1] == ["samples"]:
        del loc[2:3]  # the kind of the sample, which pydantic names and the body does not
    path = path_in(body, loc)
    message = message_of(fault)
    if len(path) >= 2 and path[0] == "samples":
        index, rest = int(path[1]), ".".join(map(str, path[2:]))
        name = sample_name(index, _id_of(body, index))
        return _printable(pointer(path), f"{name}: {rest}: {message}" if rest else f"{name}: {message}")
    return _printable(pointer(path), f"{'.'.join(map(str, path)) or 'body'}: {message}")


def _printable(where: str, detail: str) -> wire.ProblemError:
    """Names of unknown fields are the client's own and may hold what UTF-8 cannot encode."""
    where, detail = (text.encode(errors="backslashreplace").decode() for text in (where, detail))
    return wire.ProblemError(pointer=where, detail=detail)


def _id_of(body: Any, index: int) -> str | None:
    sample = body["samples"][index]
    sample_id = sample.get("id") if isinstance(sample, dict) else None
    return sample_id[:256] if isinstance(sample_id, str) else None


def install(app: FastAPI) -> None:
    """Makes every error of ``app`` a problem document."""
    app.add_exception_handler(ServiceError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(RedisError, _on_redis)
    app.add_exception_handler(Exception, _on_unexpected)
