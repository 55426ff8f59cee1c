"""How lines of the log are written: whole, one a line, and with nothing that nobody meant to say."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from congrad_service.observability import logs

REQUEST: ContextVar[str | None] = ContextVar("request", default=None)

LOGGER = logging.getLogger("congrad_service.test")


class Log(io.StringIO):
    """What was written."""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """The log in the format that a test names."""
    stream = Log()
    config = logs.logging_config(request.param, REQUEST)
    config["handlers"]["stderr"]["stream"] = stream
    before = logging.root.handlers[:], logging.root.level
    try:
        logging.config.dictConfig(config)
        yield stream
    finally:
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_json_has_the_request_and_the_fields_that_were_given(log: Log) -> None:
    token = REQUEST.set("seven")
    LOGGER.info("%d of %s", 3, "these", extra=logs.fields(samples=3, job_id=None))
    REQUEST.reset(token)
    LOGGER.warning("outside")
    first, second = log.lines()
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "congrad_service.test",
        "message": "3 of these",
        "request_id": "seven",
        "samples": 3,
    }
    assert second["request_id"] == "-"


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_json_is_one_line_whatever_is_in_it(log: Log) -> None:
    try:
        raise ValueError("first\nsecond\u2028third")
    except ValueError:
        LOGGER.exception("a\nb\u2028c")
    (line,) = log.lines()
    assert log.getvalue().isascii()
    assert line["message"] == "a\nb\u2028c"
    assert line["exception"].startswith("Traceback")


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_what_libraries_add_to_their_records_is_left_out(log: Log) -> None:
    logging.getLogger("celery.worker.strategy").info("received", extra={"data": {"args": "text-marker"}})
    assert "received" in log.getvalue()
    assert "text-marker" not in log.getvalue()


@pytest.mark.parametrize("log", ["pretty"], indirect=True)
def test_pretty_has_the_request_at_its_end(log: Log) -> None:
    REQUEST.set("seven")
    LOGGER.info("hello", extra=logs.fields(samples=3))
    assert log.getvalue().endswith(" INFO congrad_service.test: hello [seven]\n")


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_libraries_say_warnings_only(log: Log) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://hub.example/?token=secret")
    logging.getLogger("celery.app.trace").info("Task succeeded")
    logging.getLogger("httpx").warning("away")
    assert [line["message"] for line in log.lines()] == ["away"]
