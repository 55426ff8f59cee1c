"""A stack looks after its Redis, and gives up where that cannot go on."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from congrad.local import stack as stacks
from congrad.local.data_dir import held
from congrad.local.part import Part, Program
from congrad.local.redis_server import RedisConfig, StartError, configure, free_port
from congrad.local.stack import Stack, StackFailedError, StackOptions, redis_program
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from support.serving import served, service


@contextmanager
def started(folder: Path) -> Iterator[tuple[Stack, RedisConfig]]:
    """A stack of Redis and a part that only waits."""
    with held(folder) as lock:
        config = configure(folder, free_port())
        stack = Stack("http://127.0.0.1:1", os.environ, None)
        try:
            stack.start(redis_program(config, os.environ, lock))
            stack.start(Program("service", ["sleep", "600"], os.environ))
            yield stack, config
        finally:
            stack.stop()


@contextmanager
def looked_after(stack: Stack) -> Iterator[list[Exception]]:
    """Waits for it beside the test, and then has what that ended with."""
    ended: list[Exception] = []

    def wait() -> None:
        try:
            stack.wait()
        except StackFailedError as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield ended
    finally:
        thread.join(30)
        assert not thread.is_alive()


def process_of(connection: redis.Redis) -> int:
    info = connection.info("server")
    return int(info["process_id"])


def test_a_redis_that_died_is_started_again_on_its_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    patient = Retry(ConstantBackoff(0.05), 400)  # nothing tells that it listens again
    with started(tmp_path) as (stack, config), redis.Redis.from_url(config.url, retry=patient) as connection:
        connection.config_set("appendfsync", "always")
        with looked_after(stack) as ended, caplog.at_level(logging.WARNING):
            for turn in range(2):
                connection.set("turn", turn)
                before = process_of(connection)
                os.kill(before, signal.SIGKILL)
                assert connection.get("turn") == str(turn).encode()
                assert process_of(connection) != before
            os.kill(stack._parts[1]._process.pid, signal.SIGTERM)  # of all others it is the end
    assert str(ended[0]) == "the service ended by itself, with status -15"
    assert caplog.messages == ["the Redis ended by itself, with status -9, and is started again"] * 2


def test_a_folder_that_is_named_from_the_working_directory_on_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    patient = Retry(ConstantBackoff(0.05), 400)
    with started(Path("runs/data")) as (stack, config), redis.Redis.from_url(config.url, retry=patient) as connection:
        connection.set("kept", "here")
        stack.check()
    assert {path.name for path in (tmp_path / "runs" / "data").iterdir()} >= {"redis.conf", "redis.log"}
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "data"]


def test_one_that_cannot_go_on_is_given_up_and_it_is_said_where_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "TICK_S", 0.01)
    with started(tmp_path) as (stack, config):
        with redis.Redis.from_url(config.url, retry=Retry(ConstantBackoff(0.05), 400)) as connection:
            process = process_of(connection)
            (tmp_path / "appendonly.aof").write_bytes(b"nonsense" * 100)
            for file in (tmp_path / "appendonlydir").glob("*.incr.aof"):  # where newer ones keep it
                file.write_bytes(b"nonsense" * 100)
            os.kill(process, signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(StackFailedError, match=f"the Redis ended by itself, with status 1; see {config.log}: "):
            stack.wait()
        assert time.monotonic() - begun < 30
        assert len(stack._restarts) == stacks.RESTARTS


def test_one_that_ends_as_soon_as_it_is_started_is_started_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    start_again = Part.start_again

    def and_ended(part: Part) -> None:
        start_again(part)
        part._process.wait()

    monkeypatch.setattr(stacks, "TICK_S", 0.01)
    monkeypatch.setattr(Part, "start_again", and_ended)
    stack = Stack("http://127.0.0.1:1", os.environ, None)
    stack.start(Program(stacks.REDIS, ["false"], os.environ))
    with pytest.raises(StackFailedError, match="the Redis ended by itself, with status 1"):
        stack.wait()
    assert len(stack._restarts) == stacks.RESTARTS


@pytest.mark.parametrize(
    "given", [{"CONGRAD_READ_KEY": "abc"}, {"CONGRAD_API_KEY": "abc", "CONGRAD_TRUSTED_HOSTS": "filter.example.org"}]
)
def test_a_stack_may_ask_its_service_whether_it_is_ready_whatever_is_set(
    given: dict[str, str], redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    own = stacks._environment(StackOptions(tmp_path), redis_url, 8000)
    names = {"api_key": "CONGRAD_API_KEY", "read_key": "CONGRAD_READ_KEY", "trusted_hosts": "CONGRAD_TRUSTED_HOSTS"}

    async def ask() -> int:
        headers = {"Authorization": f"Bearer {own['CONGRAD_API_KEY']}", "Host": f"{own['CONGRAD_HOST']}:8000"}
        async with service(redis_url, **{name: own.get(variable) for name, variable in names.items()}) as client:
            return (await client.get("/readyz", headers=headers)).status_code

    assert asyncio.run(ask()) == 503, "nobody is there yet"


def test_a_service_that_does_not_say_whether_it_is_ready_is_an_end(redis_url: str) -> None:
    async def wait() -> None:
        async with served(redis_url, api_key="secret") as (client, _):
            stack = Stack(str(client.base_url), os.environ, None)
            await asyncio.to_thread(stack.wait_until_ready, "another")

    with pytest.raises(StartError, match="does not say whether it is ready: 401"):
        asyncio.run(wait())


def test_a_part_that_ends_while_it_starts_is_told_as_itself() -> None:
    stack = Stack("http://127.0.0.1:1", os.environ, None)
    stack.start(Program("gradients worker", ["sh", "-c", "exit 2"], os.environ))
    with pytest.raises(StackFailedError) as failed:
        stack.wait_until_ready(None)
    assert str(failed.value) == "the gradients worker ended by itself, with status 2"
    assert failed.value.status == 2


@pytest.mark.parametrize(
    ("writes", "words"),
    [
        ("congrad worker: no such folder\nINFO of another part", "congrad worker: no such folder"),
        ("Traceback\nKeyError: 1", "Traceback\n  KeyError: 1"),
    ],
)
def test_what_a_part_said_at_its_end_is_told_from_the_log(writes: str, words: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        stack = Stack("http://127.0.0.1:1", os.environ, log)
        stack.start(Program("gradients worker", ["sh", "-c", f"echo '{writes}'; exit 2"], os.environ))
        with pytest.raises(StackFailedError) as failed:
            stack.wait()
    assert str(failed.value) == f"the gradients worker ended by itself, with status 2\n  {words}"
