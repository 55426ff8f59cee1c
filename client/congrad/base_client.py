"""What both clients are made of."""

import os
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version

import httpx

from congrad.calls import HttpRequest
from congrad.filtering import Availability, Filtering, Submission
from congrad.policy import Policy, Timeouts
from congrad.requests import Options, SampleLike
from congrad.results import Fallback, OnUnavailable, Selecting

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
BATCH_SIZE = 256
CONCURRENCY = 4


class BaseClient:
    """Settings, and calls before they are driven."""

    _policy: Policy

    def __init__(self, base_url: str | None, api_key: str | None, policy: Policy):
        self._policy = policy
        self._availability = Availability()
        self.base_url = (base_url or os.environ.get("CONGRAD_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {self.base_url!r}; it should begin with http:// or https://")
        api_key = api_key if api_key is not None else os.environ.get("CONGRAD_API_KEY")
        self._headers = {"User-Agent": f"congrad/{version('congrad')}"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def _timeout_of(self, send: HttpRequest) -> httpx.Timeout:
        return httpx.Timeout(send.timeout, connect=min(self._policy.timeouts.connect, send.timeout))

    def _filtering(
        self,
        samples: Iterable[SampleLike],
        options: Options,
        key: str | None,
        batch_size: int,
        two_pass: bool,
        on_unavailable: OnUnavailable,
    ) -> Filtering:
        return Filtering(
            samples,
            options,
            key=key,
            policy=self._policy,
            availability=self._availability,
            batch_size=batch_size,
            two_pass=two_pass,
            fallback=Fallback(on_unavailable),
        )

    def _submission(self, options: Options, key: str | None) -> Submission:
        Selecting(options.selection).refuse_whole()
        return Submission(options, key, self._policy, self._availability)


def new_policy(
    policy: Policy, timeout: Timeouts | float | None, max_retries: int | None, max_downtime: float | None
) -> Policy:
    """``policy`` with what is given in place of its own."""
    if timeout is not None:
        policy = replace(policy, timeouts=Timeouts.of(timeout))
    if max_retries is not None:
        policy = replace(policy, max_retries=max_retries)
    return policy if max_downtime is None else replace(policy, max_downtime=max_downtime)
