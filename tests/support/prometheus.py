"""A real Prometheus, if there is one on this machine."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped] # no stubs here
from congrad.local.redis_server import free_port

from support.dashboard import PROMETHEUS

PROGRAM = shutil.which("prometheus")


class Prometheus:
    """One that runs."""

    def __init__(self, url: str):
        self._url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now."""
        found = self.get("query", query=expression)["result"]
        assert isinstance(found, list)
        return found

    def get(self, what: str, **parameters: str) -> dict[str, Any]:
        """An answer of its API."""
        answer = httpx.get(f"{self._url}/api/v1/{what}", params=parameters, timeout=10).raise_for_status().json()
        assert answer["status"] == "success", answer
        data = answer["data"]
        assert isinstance(data, dict)
        return data


@contextmanager
def prometheus(folder: Path, jobs: Mapping[str, Sequence[str]], token: str) -> Iterator[Prometheus]:
    """Reads from the targets of some jobs every second, and goes by the rules that are deployed."""
    (folder / "token").write_text(token)
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(PROMETHEUS / "rules.yml")],
        "scrape_configs": [
            {
                "job_name": job,
                "authorization": {"credentials_file": "token"},
                "static_configs": [{"targets": list(targets)}],
            }
            for job, targets in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(PROGRAM), *options], cwd=folder, stderr=log)
        try:
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait()
