"""Backups of directions come back as docs/operations.md says: exported by the command, and as Redis's own files.

The state is that of real pairs. Vectors are compared to the last bit, by exporting them again.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from congrad import Client
from congrad.local.part import Program
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import Stack
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from safetensors import safe_open
from support.commands import run
from support.pairs import demo_samples


@dataclass(frozen=True)
class Backup:
    """A direction that was exported by the command, and what the service told of it."""

    name: str
    file: Path
    shown: dict[str, Any]


@pytest.fixture(scope="module")
def backup(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """Of a direction into which a real stack has folded real pairs, twice."""
    name = f"backup-{uuid.uuid4().hex}"
    with Client(stack.url) as client:
        client.filter(demo_samples("de", "fr", "ja", each=4), direction=name)
        client.filter(demo_samples("de", "sw", each=2), direction=name)
    file = tmp_path_factory.mktemp("backup") / "direction.safetensors"
    command("direction", "export", name, "--output", str(file), "--url", stack.url)
    return Backup(name, file, shown(stack.url, name))


def command(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(url: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command("direction", "show", name, "--json", "--url", url))
    return found


@contextmanager
def redis_on(folder: Path, *options: str) -> Iterator[redis.Redis]:
    """A Redis as `congrad up` and the compose file run it, with its data in ``folder``; stopped in order."""
    folder.mkdir(exist_ok=True)
    config = configure(folder, free_port())
    process = subprocess.Popen([*config.command, *options])
    patient = Retry(ConstantBackoff(0.05), 200)  # nothing tells when a socket opens, or a file has been read
    connection = redis.Redis.from_url(config.url, retry=patient, retry_on_error=[redis.BusyLoadingError])
    try:
        connection.ping()
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait()


@contextmanager
def service_on(server: redis.Redis, log: Path) -> Iterator[str]:
    """The address of a service, without workers: directions need none."""
    where, port = server.connection_pool.connection_kwargs, free_port()
    redis_url = f"redis://:{where['password']}@{where['host']}:{where['port']}/0"
    environment = os.environ | {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_PORT": str(port)}
    with log.open("ab") as file:
        stack = Stack(f"http://127.0.0.1:{port}", environment, file)
        try:
            stack.start(Program("service", [sys.executable, "-m", "congrad_service"], environment))
            with httpx.Client(transport=httpx.HTTPTransport(retries=7)) as patient:
                patient.get(f"{stack.url}/livez").raise_for_status()
            yield stack.url
        finally:
            stack.stop()


def assert_is_back(backup: Backup, server: redis.Redis, folder: Path) -> None:
    with service_on(server, folder / "log") as url:
        assert shown(url, backup.name) == backup.shown
        again = folder / "again.safetensors"
        command("direction", "export", backup.name, "--output", str(again), "--url", url)
        assert content(again) == content(backup.file)


def content(file: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """Metadata and vectors of an exported state, in which neither has an order."""
    with safe_open(str(file), framework="numpy") as opened:
        return opened.metadata(), {name: opened.get_tensor(name).tobytes() for name in opened.keys()}  # noqa: SIM118 # no mapping


def restore(backup: Backup, server: redis.Redis, folder: Path) -> None:
    with service_on(server, folder / "log") as url:
        command("direction", "import", backup.name, str(backup.file), "--url", url)


def test_an_exported_direction_is_the_same_on_another_redis(backup: Backup, tmp_path: Path) -> None:
    with redis_on(tmp_path / "data") as server:
        restore(backup, server, tmp_path)
        assert_is_back(backup, server, tmp_path)


@pytest.mark.slow  # by a file of the direction's own: the test above
def test_a_copy_of_the_data_folder_of_a_redis_that_was_stopped_has_its_directions(
    backup: Backup, tmp_path: Path
) -> None:
    with redis_on(tmp_path / "data") as server:
        restore(backup, server, tmp_path)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with redis_on(tmp_path / "copy") as server:
        assert_is_back(backup, server, tmp_path)


@pytest.mark.slow  # likewise
def test_a_snapshot_of_a_running_redis_has_its_directions(backup: Backup, tmp_path: Path) -> None:
    """With an append-only file asked for and none there, Redis begins empty and does not look at the snapshot: so it
    is started without one, and told to write one."""
    with redis_on(tmp_path / "data") as server:
        restore(backup, server, tmp_path)
        server.save()
        snapshot = tmp_path / "dump.rdb"
        shutil.copy(tmp_path / "data" / "dump.rdb", snapshot)
        server.flushall()
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(snapshot, new / "dump.rdb")
    with redis_on(new, "--appendonly", "no") as server:
        server.config_set("appendonly", "yes")
        _until_rewritten(server)
    (new / "dump.rdb").unlink()
    with redis_on(new) as server:
        assert_is_back(backup, server, tmp_path)


def _until_rewritten(server: redis.Redis) -> None:
    """Waits until the append-only file is written."""
    while (about := server.info("persistence"))["aof_rewrite_in_progress"] or about["aof_rewrite_scheduled"]:
        time.sleep(0.02)  # nothing tells
    assert about["aof_last_bgrewrite_status"] == "ok"
