"""What both clients are made of."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Generic, Self, TypeVar, Unpack

import httpx

from congrad.protocol.ahead import check as check_concurrency
from congrad.protocol.calls import HttpRequest
from congrad.protocol.filtering import Availability, Filtering, Submission
from congrad.protocol.options import Batching, BatchOptions, OnUnavailable
from congrad.protocol.policy import Policy, Timeouts
from congrad.protocol.requests import Samples, check_batch_size
from congrad.protocol.results import Fallback, Selecting

DEFAULT_BASE_URL = "http://127.0.0.1:8000"

_SETTINGS = {"base_url": "base_url", "api_key": "_api_key", "policy": "_policy", "transport": "_transport"}
"""What a client is made of, and the attribute that it is in."""

H = TypeVar("H", bound=httpx.Client | httpx.AsyncClient)


class PerProcess(Generic[H]):
    """Connections of this process, as after a fork parent and child would read each other's answers; and of this event
    loop, as one that is over cannot be written to, and ``asyncio.run`` makes one for each call.

    :param loop: the event loop that runs, where connections belong to one.
    """

    def __init__(self, make: Callable[[], H], loop: Callable[[], object] = lambda: None):
        self._make = make
        self._loop = loop
        self._made = make()
        self._pid = os.getpid()
        self._made_in = loop()

    def get(self) -> H:
        """The connections, new ones in a new process or event loop."""
        now = self._loop()
        if self._pid != os.getpid():
            # The parent's are dropped and not closed: that would say goodbye on connections that the parent still uses.
            # Two threads that both come first make one each; the one that is lost lasts as long as its request.
            self._made, self._pid, self._made_in = self._make(), os.getpid(), now
        elif now is not self._made_in and not self._made.is_closed:
            if self._made_in is not None:  # none are open before there is a loop
                self._made = self._make()
            self._made_in = now
        return self._made


class BaseClient(ABC):
    """Settings, and calls before they are driven.

    It can be pickled, as processes that are spawned and `datasets.map` do. What is pickled are the settings alone, so
    that two clients with the same are the same to a fingerprint; each copy makes connections of its own.
    """

    base_url: str
    _api_key: str | None
    _policy: Policy
    _transport: Any

    def __init__(self, base_url: str | None, api_key: str | None, policy: Policy, transport: Any):
        for name, value in (("base_url", base_url), ("api_key", api_key)):
            if not isinstance(value, str | None):
                raise TypeError(f"{name} is {type(value).__name__}; it should be a string")
        base_url = (base_url or os.environ.get("CONGRAD_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
        self._settle({"base_url": base_url, "api_key": api_key, "policy": policy, "transport": transport})

    def __getstate__(self) -> dict[str, Any]:
        # A token of the environment is not among them: a process that reads them has the same environment.
        return {name: getattr(self, attribute) for name, attribute in _SETTINGS.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._settle(state)

    def _settle(self, state: Mapping[str, Any]) -> None:
        for name, attribute in _SETTINGS.items():
            setattr(self, attribute, state[name])
        self._is_copy = False
        self._availability = Availability()
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {self.base_url!r}; it should begin with http:// or https://")
        api_key = self._api_key if self._api_key is not None else os.environ.get("CONGRAD_API_KEY")
        self._headers = {"User-Agent": f"congrad/{version('congrad-filter')}"}
        if api_key and (token := api_key.strip()):  # files of secrets end with a line break
            if not (token.isascii() and token.isprintable()):
                raise ValueError("the API key (api_key, or CONGRAD_API_KEY) has characters that no header can hold")
            self._headers["Authorization"] = f"Bearer {token}"
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Makes ready what requests go through."""

    def with_options(
        self,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int | None = None,
        max_downtime: float | None = None,
    ) -> Self:
        """A client on the same connections that waits or tries differently."""
        # Shallow, so that both share the connections, and what is known of the service's availability.
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._policy = new_policy(self._policy, timeout, max_retries, max_downtime)
        other._is_copy = True
        return other

    @property
    def _longest(self) -> float:
        """Seconds that a request may take, with the smaller ones that it may have to be cut into."""
        return 2 * self._policy.timeouts.total

    def _timeout_of(self, send: HttpRequest) -> httpx.Timeout:
        return httpx.Timeout(send.timeout, connect=min(self._policy.timeouts.connect, send.timeout))

    def _filtering(
        self,
        samples: Samples,
        *,
        two_pass: bool = False,
        retain: bool = False,
        on_unavailable: OnUnavailable = "raise",
        progress: bool | None = None,
        **options: Unpack[BatchOptions],
    ) -> Filtering:
        return Filtering(
            samples,
            Batching(**options),
            self._policy,
            self._availability,
            two_pass=two_pass,
            retain=retain,
            fallback=Fallback(on_unavailable),
            progress=progress,
        )

    def _submission(self, options: Batching, *, retain: bool, apart: bool = False) -> Submission:
        # Said now: a generator's first line would run only when the caller asks for its first decision.
        check_batch_size(options.batch_size)
        check_concurrency(options.concurrency)
        Selecting(options.selection).refuse_whole()
        return Submission(options, self._policy, self._availability, retain=retain, apart=apart)


def new_policy(
    policy: Policy, timeout: Timeouts | float | None, max_retries: int | None, max_downtime: float | None
) -> Policy:
    """``policy`` with what is given in place of its own."""
    if timeout is not None:
        policy = replace(policy, timeouts=Timeouts.of(timeout))
    if max_retries is not None:
        policy = replace(policy, max_retries=max_retries)
    return policy if max_downtime is None else replace(policy, max_downtime=max_downtime)
