"""Puts a script together: what it uses of keys and limits, the functions that it includes, and its own lines."""

import re
from pathlib import Path

from congrad_service import keys
from congrad_service.scripts.limits import FAULTY, HISTORY, RECENT, TOLD_S

_LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"-- include: (.+)\n")

_NAMES: dict[str, str | int] = {
    "DECISIONS": keys.DECIDE_QUEUE,
    "DIRECTION": keys.direction(""),
    "EVENTS": keys.EVENTS,
    "FAILED": keys.failed_jobs(None),
    "FAULTY": FAULTY,
    "GIVEN_UP": keys.GIVEN_UP,
    "GRADIENTS": keys.gradients_queue(""),
    "HELD": keys.HELD,
    "HISTORY": HISTORY,
    "JOB": keys.job(""),
    "PUBLICATION": keys.publication(""),
    "READY": keys.turns("")[0],
    "RECENT": RECENT,
    "STORED": keys.STORED,
    "TOLD": keys.TOLD,
    "TOLD_S": TOLD_S,
    "WORK": keys.unfinished(""),
    "WORKER": keys.worker(""),
    "WRITER": keys.writer(""),
}
"""What the files of Lua call by name: beginnings of keys, and limits."""


def script(name: str) -> str:
    """The text of `lua/NAME.lua`, for Redis. Its first line may name files of `lua/functions`, in the order in which
    they use each other."""
    own = (_LUA / f"{name}.lua").read_text()
    include = _INCLUDE.match(own)
    included = include[1].split(", ") if include else []
    text = "".join((_LUA / "functions" / f"{one}.lua").read_text() for one in included) + own
    used = set(re.findall(r"\b[A-Z_]+\b", text)) & _NAMES.keys()
    return "".join(f"local {one} = {_literal(_NAMES[one])}\n" for one in sorted(used)) + text


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"
