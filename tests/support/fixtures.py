"""Fixtures."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from congrad.client import Client
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import Stack, StackOptions, running_stack
from congrad_worker.tasks.store import Store

from support.models import DEMO_CHECKPOINT, save_small_llama
from support.serving import announce_workers, settings


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
def stack(stack_log: Path) -> Iterator[Stack]:
    """Redis, a gradients worker on the demo checkpoint, a decide worker and the service, all real."""
    environment = {"CONGRAD_MODEL": str(DEMO_CHECKPOINT), "CONGRAD_HALF_LIFE": "inf", "CONGRAD_CHUNK_TOKENS": "4000"}
    options = StackOptions(stack_log.parent / "data", port=0, environment=environment, log=stack_log)
    with running_stack(options) as running:
        yield running


@pytest.fixture(scope="session")
def sft_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same, where the workers have the loss of supervised fine-tuning."""
    folder = tmp_path_factory.mktemp("sft-stack")
    environment = {"CONGRAD_MODEL": str(DEMO_CHECKPOINT), "CONGRAD_HALF_LIFE": "inf", "CONGRAD_LOSS": "sft"}
    options = StackOptions(folder / "data", port=0, environment=environment, log=folder / "log")
    with running_stack(options) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the stack."""
    with Client(stack.url, max_retries=0) as connected:
        yield connected
