"""How the service and the workers log: a line each, for people or as JSON, with the id of the request that it is about.

Whoever logs more than a sentence passes the values as `fields`; nothing else of a record gets into the JSON.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from congrad_service.observability import tracing
from congrad_service.settings import LogFormat

PRETTY = "%(asctime)s %(levelname)s %(name)s: %(message)s [%(request_id)s]"
"""The id is at the end, where a client's text can pass for nothing else."""

LEVELS = {
    "uvicorn": "INFO",
    "congrad_service": "INFO",
    "celery": "INFO",
    "celery.app.trace": "WARNING",  # the end of a task; `reports.py` says it, and more
    "congrad_worker": "INFO",
}
"""Of the loggers that say more than warnings."""


NO_REQUEST: ContextVar[str | None] = ContextVar("no_request", default=None)
"""The id of a process's request that never has any."""


def logging_config(log_format: LogFormat, request_id: ContextVar[str | None] = NO_REQUEST) -> dict[str, Any]:
    """For `logging.config.dictConfig`: all lines on stderr. What is logged outside a request has the id ``-``."""
    formatters: dict[str, dict[str, Any]] = {"pretty": {"format": PRETTY}, "json": {"()": JsonFormatter}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {log_format: formatters[log_format]},
        "filters": {"request_id": {"()": RequestIdFilter, "request_id": request_id}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["request_id"]},
        },
        "loggers": {name: {"level": level} for name, level in LEVELS.items()},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }


def fields(**values: Any) -> dict[str, Any]:
    """What a line says beside its sentence, as the ``extra`` of a logging call."""
    return {"fields": values}


class RequestIdFilter(logging.Filter):
    """Gives every record the id of its request."""

    def __init__(self, request_id: ContextVar[str | None]):
        super().__init__()
        self._request_id = request_id

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = self._request_id.get() or "-"
        return True


class JsonFormatter(logging.Formatter):
    """A JSON object a line, in ASCII: some take other characters of Unicode for the end of one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
            **tracing.ids(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    own: Mapping[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in own.items() if value is not None}
