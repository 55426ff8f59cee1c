"""What a service says about itself, asked once and without retries: whoever asks how it is wants to know it now."""

from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import ValidationError

from congrad.contract import wire
from congrad.protocol.connections.certificates import trusted
from congrad.protocol.connections.proxies import transport_for

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Answer:
    """An answer, or why there is none."""

    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: Any = None
    failure: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong; None where nothing is."""
        if self.failure is not None or self.status < 400:
            return self.failure
        try:
            return wire.Problem.model_validate(self.body).detail
        except ValidationError:
            return f"answers with status {self.status}, and not as CONGRAD does"


def readiness(body: Any) -> str:
    """What a service that is ready says of its workers, in the body of ``/readyz``."""
    told = body if isinstance(body, dict) else {}
    if "waiting_for_work" in told:
        return f"no worker serves {told['waiting_for_work']} until there is work"
    return "workers are asleep until there is work" if told.get("status") == "asleep" else "workers are there"


class Probe:
    """Asks a service.

    :param url: checked by `congrad.Client`.
    """

    def __init__(self, url: str, api_key: str | None):
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport_for(url), verify=trusted(url)
        )

    def get(self, path: str) -> Answer:
        """What it answers."""
        try:
            response = self._http.get(path)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return Answer(failure=f"cannot be reached: {error or type(error).__name__}")
        try:
            body = response.json()
        except ValueError:
            body = None
        return Answer(response.status_code, response.headers, body)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()
