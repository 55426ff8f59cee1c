"""Running directions: ``client.directions``."""

from urllib.parse import quote

from congrad.contract import wire
from congrad.protocol import calls
from congrad.protocol.answers.replies import CONFLICTS, DIRECTION, DIRECTIONS, HISTORY, SCORES, nothing, safetensors_of
from congrad.protocol.calls import AsyncRun, Call, HttpRequest, Run
from congrad.protocol.policy import Policy

History = list[wire.HistoryEntry]
"""The versions of a direction, the oldest first."""


class Directions:
    """The running directions of a service."""

    def __init__(self, run: Run, policy: Policy):
        self._run = run
        self._policy = policy

    def list(self) -> list[wire.DirectionSummary]:
        """All of them, with their versions and counts."""
        return self._run(_list(self._policy))

    def get(self, name: str = "default") -> wire.Direction:
        """Counts, norms, and the cosines between the languages.

        :raises NotFoundError: there is none of this name.
        """
        return self._run(_get(name, self._policy))

    def scores(self, name: str = "default") -> wire.DirectionScores:
        """How its latest conflict scores are distributed, by language: what another threshold would have kept.

        :raises NotFoundError: there is none of this name.
        """
        return self._run(_scores(name, self._policy))

    def history(self, name: str = "default", limit: int = 500) -> History:
        """How it came about: its latest versions, the oldest of them first.

        :param limit: at most this many; the service remembers 1,000.
        :raises NotFoundError: there is none of this name.
        """
        return self._run(_history(name, limit, self._policy))

    def conflicts(self, name: str = "default") -> wire.DirectionConflicts:
        """Which languages the pairs conflict with that were folded in and not kept.

        :raises NotFoundError: there is none of this name.
        """
        return self._run(_conflicts(name, self._policy))

    def reset(self, name: str = "default") -> None:
        """Forgets it.

        :raises NotFoundError: there is none of this name.
        """
        self._run(_reset(name, self._policy))

    def export(self, name: str = "default") -> bytes:
        """Its whole state, vectors included, as safetensors.

        :raises NotFoundError: there is none of this name.
        """
        return self._run(_export(name, self._policy))

    def import_(self, name: str, state: bytes) -> wire.Direction:
        """Makes a direction of an exported state; one of this name is replaced.

        :raises TypeError: ``state`` is not bytes.
        :raises UnprocessableError: ``state`` is not an exported state.
        """
        return self._run(_import(name, state, self._policy))


class AsyncDirections:
    """`Directions`, asynchronously."""

    def __init__(self, run: AsyncRun, policy: Policy):
        self._run = run
        self._policy = policy

    async def list(self) -> list[wire.DirectionSummary]:
        """See `Directions.list`."""
        return await self._run(_list(self._policy))

    async def get(self, name: str = "default") -> wire.Direction:
        """See `Directions.get`."""
        return await self._run(_get(name, self._policy))

    async def scores(self, name: str = "default") -> wire.DirectionScores:
        """See `Directions.scores`."""
        return await self._run(_scores(name, self._policy))

    async def history(self, name: str = "default", limit: int = 500) -> History:
        """See `Directions.history`."""
        return await self._run(_history(name, limit, self._policy))

    async def conflicts(self, name: str = "default") -> wire.DirectionConflicts:
        """See `Directions.conflicts`."""
        return await self._run(_conflicts(name, self._policy))

    async def reset(self, name: str = "default") -> None:
        """See `Directions.reset`."""
        await self._run(_reset(name, self._policy))

    async def export(self, name: str = "default") -> bytes:
        """See `Directions.export`."""
        return await self._run(_export(name, self._policy))

    async def import_(self, name: str, state: bytes) -> wire.Direction:
        """See `Directions.import_`."""
        return await self._run(_import(name, state, self._policy))


def _path(name: str) -> str:
    # A slash or two dots in a name would be another path.
    return f"/directions/{quote(name, safe='')}"


def _list(policy: Policy) -> Call[list[wire.DirectionSummary]]:
    return calls.request(HttpRequest("GET", "/directions"), DIRECTIONS, policy)


def _get(name: str, policy: Policy) -> Call[wire.Direction]:
    return calls.request(HttpRequest("GET", _path(name)), DIRECTION, policy)


def _scores(name: str, policy: Policy) -> Call[wire.DirectionScores]:
    return calls.request(HttpRequest("GET", _path(name) + "/scores"), SCORES, policy)


def _history(name: str, limit: int, policy: Policy) -> Call[History]:
    return calls.request(HttpRequest("GET", f"{_path(name)}/history?limit={limit}"), HISTORY, policy)


def _conflicts(name: str, policy: Policy) -> Call[wire.DirectionConflicts]:
    return calls.request(HttpRequest("GET", _path(name) + "/conflicts"), CONFLICTS, policy)


def _reset(name: str, policy: Policy) -> Call[None]:
    return calls.request(HttpRequest("DELETE", _path(name)), nothing, policy)


def _export(name: str, policy: Policy) -> Call[bytes]:
    return calls.request(HttpRequest("GET", _path(name) + "/state"), safetensors_of, policy)


def _import(name: str, state: bytes, policy: Policy) -> Call[wire.Direction]:
    if not isinstance(state, bytes | bytearray | memoryview):  # the name of its file, for one
        raise TypeError(f"state is {type(state).__name__}; it should be bytes, as export returns them")
    headers = {"Content-Type": "application/octet-stream"}
    return calls.request(HttpRequest("PUT", _path(name) + "/state", bytes(state), headers), DIRECTION, policy)
