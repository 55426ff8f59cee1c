"""A container engine, and the stack of docker-compose.yml on it, run from a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # no stubs here
from congrad.client import Client
from congrad.local.redis_server import free_port

ROOT = Path(__file__).parents[2]
COPIED = (
    "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "client", "service", "worker", "scripts", "deploy",
    "Dockerfile", ".dockerignore", "docker-compose.yml", ".env.example",
)  # fmt: skip
PROFILE = "cpu"
PARTS = ("redis", "service", "decide", "gradients-cpu")
BUILT = ("service", "gradients-cpu")
PYTHON_IMAGE = "python:3.11-slim-bookworm"
REDIS_IMAGE = "redis:7-bookworm"
REDIS_USER = "999:999"
READY_S = 300
DOCKER = "docker"


def missing_engine() -> str | None:
    """Why there is nothing to run containers with; None if there is."""
    if shutil.which(DOCKER) is None:
        return "there is no `docker`"
    asked = subprocess.run([DOCKER, "info"], capture_output=True, text=True)
    if asked.returncode:
        return f"`docker info` finds no engine: {asked.stderr.strip()}"
    return None if compose_command() else "there is no Docker Compose"


def compose_command() -> list[str] | None:
    """Compose, of either generation."""
    for command in ([DOCKER, "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    return None


def docker(*arguments: str, timeout: float = 600) -> str:
    """What a command of `docker` prints."""
    return _run([DOCKER, *arguments], timeout=timeout).strip()


def docker_build(tag: str, dockerfile: str) -> None:
    """An image of a Dockerfile that copies nothing."""
    build = [DOCKER, "build", "--network=host", "--quiet", "--tag", tag, "-"]
    done = subprocess.run(build, input=dockerfile, capture_output=True, text=True, env=_environment(), timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]


def inspect(name: str) -> Any:
    """What the engine knows of an image or a container."""
    return json.loads(docker("inspect", name))[0]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Blocks until the condition holds."""
    end = time.monotonic() + READY_S
    while not condition():
        assert time.monotonic() < end, f"not within {READY_S} s: {what}"
        time.sleep(0.5)  # the engine looks after health itself, in intervals of seconds


class ComposeStack:
    """The stack, with containers, volumes and a port of its own. Images have the names that users' have."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._project = f"congradtest{os.getpid()}"
        self._port = free_port()
        copy_repository(folder)
        # Names resolve in a build wherever they resolve on the host.
        override = {"services": {name: {"build": {"network": "host"}} for name in BUILT}}
        (folder / "docker-compose.override.yml").write_text(yaml.safe_dump(override), encoding="utf-8")
        self._write_settings()

    def _write_settings(self) -> None:
        """As deploy/README.md says."""
        page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
        command = re.findall(r"^sed .*> \.env.*$", page, flags=re.MULTILINE)[0]
        _run(["sh", "-c", command], cwd=self.folder)
        self.set(CONGRAD_PORT=f"127.0.0.1:{self._port}")
        if any(variable.startswith("PIP_FIND_LINKS=") for variable in inspect(PYTHON_IMAGE)["Config"]["Env"]):
            self.set(TORCH_INDEX_URL="")  # the base image brings its own build of torch

    def set(self, **settings: str) -> None:
        """Sets variables in `.env`."""
        lines = [line for line in self._settings().splitlines() if line.partition("=")[0] not in settings]
        lines += [f"{name}={value}" for name, value in settings.items()]
        (self.folder / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def api_key(self) -> str:
        """The token in `.env`."""
        return str(re.findall(r"^CONGRAD_API_KEY=(.+)$", self._settings(), flags=re.MULTILINE)[0])

    def _settings(self) -> str:
        return (self.folder / ".env").read_text(encoding="utf-8")

    def compose(self, *arguments: str, profile: str = PROFILE, timeout: float = 1800) -> str:
        """Runs Compose on the copy; what it prints."""
        command = compose_command()
        assert command is not None
        started = [*command, "--project-name", self._project, "--profile", profile, *arguments]
        return _run(started, cwd=self.folder, timeout=timeout)

    def up(self) -> None:
        """Starts what does not run, and replaces what has changed."""
        self._give_redis_its_volume()
        self.compose("up", "--detach")

    def _give_redis_its_volume(self) -> None:
        """Makes up for an image that stands in for Redis's own, and whose /data belongs to somebody else."""
        mounted = ["--volume", f"{self._project}_redis-data:/data", REDIS_IMAGE]
        if docker("run", "--rm", REDIS_IMAGE, "stat", "--format=%u:%g", "/data") != REDIS_USER:
            # An empty volume would take over the owner of the image's folder once more.
            own = f"touch /data/.owned && chown --recursive {REDIS_USER} /data"
            docker("run", "--rm", "--user=0", *mounted, "sh", "-c", own)

    def client(self) -> Client:
        """A client that comes from outside."""
        return Client(f"http://127.0.0.1:{self._port}", self.api_key, max_downtime=READY_S)

    def container(self, part: str) -> str:
        """The id of a part's container, which may have stopped."""
        labels = (f"com.docker.compose.project={self._project}", f"com.docker.compose.service={part}")
        return docker("ps", "--all", "--quiet", *(f"--filter=label={label}" for label in labels))

    def execute(self, part: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in a part's container."""
        return subprocess.run([DOCKER, "exec", self.container(part), *command], capture_output=True, text=True)

    def is_healthy(self, part: str) -> bool:
        """Whether the engine says so."""
        container = self.container(part)
        return bool(container) and str(inspect(container)["State"]["Health"]["Status"]) == "healthy"

    def wait_until_healthy(self, parts: Iterable[str] = PARTS) -> None:
        """Blocks until all parts are."""
        for part in parts:
            wait_until(partial(self.is_healthy, part), f"{part} is healthy")
        with self.client() as client:
            client.wait_until_ready(READY_S)

    def crash(self, part: str) -> None:
        """Kills a part's first process as the kernel does when memory runs out: behind the engine's back, which takes
        `docker kill` for a wish, and does not start the container again."""
        process = inspect(self.container(part))["State"]["Pid"]
        code = f"import os; os.kill({process}, 9)"
        docker("run", "--rm", "--pid=host", "--user=0", "congrad-service", "python", "-c", code)

    def restarts(self, part: str) -> int:
        """How often the engine has started a part's container again."""
        return int(inspect(self.container(part))["RestartCount"])

    def logs(self) -> str:
        """What all parts have written."""
        return self.compose("logs", "--no-color")

    def remove(self) -> None:
        """Containers and volumes; images stay."""
        self.compose("down", "--volumes", "--timeout", "30")


def copy_repository(folder: Path) -> None:
    """What images are built from, and the stack is run with."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def _run(command: list[str], cwd: Path | None = None, timeout: float = 600) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=_environment())
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def _environment() -> dict[str, str]:
    """Without settings that would come before those of `.env`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("CONGRAD_", "COMPOSE_", "HF_"))}
