"""The `Prefer` header (RFC 7240): how long a client wants to wait for its answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MEMBER = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*"?)+')
"""Of a list with commas between; in quotes they are part of a value."""


@dataclass(frozen=True)
class Preference:
    """Seconds to wait, and the header that tells the client which of its preferences were met."""

    wait: float
    applied: dict[str, str]


def parse_prefer(lines: Sequence[str], max_wait: float, default: float | None = None) -> Preference:
    """Reads `respond-async` and `wait=SECONDS`; preferences that are unknown or malformed are ignored, as the RFC
    asks, and so are their parameters. Both together mean: wait that long, then answer 202. Without either, the wait is
    ``default``, or ``max_wait`` if that is None.

    :param lines: of the header, which may come several times.
    """
    tokens = [token.partition(";")[0].strip() for token in _MEMBER.findall(",".join(lines))]
    asynchronous = any(token.lower() == "respond-async" for token in tokens)
    waits = [seconds for token in tokens if (seconds := _wait_seconds(token)) is not None]
    if waits:
        wait = min(waits[0], max_wait)
        return Preference(wait, {"Preference-Applied": f"wait={waits[0]}"} if wait == waits[0] else {})
    if asynchronous:
        return Preference(0.0, {"Preference-Applied": "respond-async"})
    return Preference(max_wait if default is None else default, {})


def _wait_seconds(token: str) -> int | None:
    name, _, value = token.partition("=")
    value = value.strip().strip('"')
    if name.strip().lower() != "wait" or not (value.isascii() and value.isdigit()):
        return None
    return int(value[:9])
