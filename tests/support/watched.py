"""A whole stack as it is watched."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from congrad.local.stack import Stack

from support.collector import Collector


@dataclass(frozen=True)
class Watched:
    """A stack with all that watches it."""

    stack: Stack
    log: Path
    collector: Collector
    gradients_port: int

    def metrics(self, part: str) -> str:
        """Of `service`, `gradients` or `decide`."""
        ports = {"gradients": self.gradients_port, "decide": self.gradients_port + 1}
        url = f"http://127.0.0.1:{ports[part]}" if part in ports else self.stack.url
        # Of the connection, at 0.5 s, 1 s, ...: nothing tells when a part that was replaced listens.
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=30) as client:
            return client.get(f"{url}/metrics").raise_for_status().text

    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
