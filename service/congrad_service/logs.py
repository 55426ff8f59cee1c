"""How the service logs: as uvicorn does, without queries, and with the id of the request at the end of each line."""

import logging
from copy import deepcopy
from typing import Any

from uvicorn.config import LOGGING_CONFIG


def logging_config() -> dict[str, Any]:
    """For `logging.config.dictConfig`. What is logged outside a request has the id ``-``."""
    config = deepcopy(LOGGING_CONFIG)
    # At the end, where a client's text can pass for nothing else.
    for formatter in config["formatters"].values():
        formatter["fmt"] += " [%(correlation_id)s]"
    config["filters"] = {"request_id": {"()": "asgi_correlation_id.CorrelationIdFilter", "default_value": "-"}}
    for handler in config["handlers"].values():
        handler["filters"] = ["request_id"]
    config["root"] = {"handlers": ["default"], "level": "WARNING"}
    return config


def is_worth_keeping(record: logging.LogRecord) -> bool:
    """A filter of the access log: probes come every few seconds, for ever. The query is cut off: no route has one, and
    whoever appends a token to a URL, as for a browser's EventSource, should not find it here."""
    address, method, target, *rest = record.args or ()
    path = str(target).partition("?")[0]
    record.args = (address, method, path, *rest)
    return path not in ("/livez", "/readyz")
