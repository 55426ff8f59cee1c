"""Fixtures."""

import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import chaos.parts
import httpx
import pytest
import redis
from congrad.client import Client
from congrad.local import part
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import Stack, StackOptions, running_stack
from congrad_worker.tasks.store import Store

from support.collector import collector
from support.forked_parts import forks
from support.models import DEMO_CHECKPOINT, save_small_llama
from support.object_store import ObjectStore
from support.object_store import object_store as object_store_of_moto
from support.serving import announce_workers, settings
from support.watched import Watched


@pytest.fixture(scope="session", autouse=True)
def _parts_are_forked() -> Iterator[None]:
    """Those of stacks that tests start themselves; what `congrad up` starts is started as users have it."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (part, chaos.parts):
            patch.setattr(module, "Popen", forks.popen)
        yield


@pytest.fixture(scope="session", autouse=True)
def _what_does_not_change_is_read_once() -> Iterator[None]:
    """redis-py reads its package's metadata for each connection, and httpx the certificates of all authorities for each
    client: both take longer than what most tests then do with them."""
    authorities = httpx.create_ssl_context()

    def context(verify: ssl.SSLContext | str | bool = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and not os.environ.get("SSL_CERT_FILE"):
            return authorities
        return httpx.create_ssl_context(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("redis.utils.get_lib_version", cache(redis.utils.get_lib_version))
        # Not a public name of httpx: without it tests take longer, and that is all.
        patch.setattr("httpx._transports.default.create_ssl_context", context, raising=False)
        yield


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random small Llama on disk."""
    return save_small_llama(tmp_path_factory.mktemp("small-llama"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis; its URL."""
    config = configure(tmp_path_factory.mktemp("redis"), free_port())
    process = subprocess.Popen(config.command)
    try:
        with redis.Redis.from_url(config.url) as connection:
            for _ in range(200):
                try:
                    connection.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)  # nothing tells when a socket opens
            connection.ping()
        yield config.url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """A real and empty Redis."""
    with redis.Redis.from_url(redis_server) as connection:
        connection.flushall()
    return redis_server


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectStore]:
    """An object store, for those who start processes that use it."""
    with object_store_of_moto() as running:
        yield running


@pytest.fixture
def object_store(object_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same, with its credentials in the environment of this process."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    return object_server


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    """A worker's store; the registry believes that workers are there."""
    announce_workers(redis_url)
    store = Store(settings(redis_url))
    yield store
    store.redis.close()


@pytest.fixture(scope="session")
def stack_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts of the stack write."""
    return tmp_path_factory.mktemp("stack") / "log"


@pytest.fixture(scope="session")
def publishable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of which the workers of the stack may be told to load something."""
    return tmp_path_factory.mktemp("publishable")


@pytest.fixture(scope="session")
def stack(stack_log: Path, publishable: Path) -> Iterator[Stack]:
    """Redis, a gradients worker on the demo checkpoint, a decide worker and the service, all real. It keeps texts."""
    environment = {
        "CONGRAD_CHUNK_TOKENS": "4000",
        "CONGRAD_KEEP_TEXTS": "true",
        "CONGRAD_MODELS": f"{DEMO_CHECKPOINT},{publishable}",
    }
    with _stack(stack_log.parent, environment) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the stack."""
    with Client(stack.url, max_retries=0) as connected:
        yield connected


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, object_server: ObjectStore) -> Iterator[Watched]:
    """A stack whose workers have the loss of supervised fine-tuning, with a gradient store that is an object store, and
    with all that watches one: metrics, a log in JSON, and spans."""
    folder, port = tmp_path_factory.mktemp("sft-stack"), free_port()
    with collector() as spans:
        environment = {
            "CONGRAD_LOSS": "sft",
            "CONGRAD_CHUNK_TOKENS": "400",
            "CONGRAD_LOG_FORMAT": "json",
            "CONGRAD_METRICS_PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "CONGRAD_GRADIENT_STORE": object_server.new_bucket(),
            **object_server.environment,
        }
        with _stack(folder, environment) as running:
            yield Watched(running, folder / "log", spans, port)


@pytest.fixture(scope="session")
def sft_stack(watched: Watched) -> Stack:
    """The same, for those who do not look at it."""
    return watched.stack


@pytest.fixture(scope="session")
def kto_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose workers have the loss of KTO, and a gradient store on the disk."""
    folder = tmp_path_factory.mktemp("kto-stack")
    environment = {"CONGRAD_LOSS": "kto", "CONGRAD_GRADIENT_STORE": f"file://{folder}/gradients"}
    with _stack(folder, environment) as running:
        yield running


@contextmanager
def _stack(folder: Path, environment: dict[str, str]) -> Iterator[Stack]:
    """One in which all samples count for ever. It is not stopped in order, which takes seconds."""
    environment |= {"CONGRAD_MODEL": str(DEMO_CHECKPOINT), "CONGRAD_HALF_LIFE": "inf"}
    options = StackOptions(folder / "data", port=0, environment=environment, log=folder / "log")
    with running_stack(options) as running:
        yield running
        running.kill_all_but_redis()
