"""A stack looks after its Redis, and gives up where that cannot go on."""

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
from congrad.local.part import Program
from congrad.local.redis_server import RedisConfig, configure, free_port
from congrad.local.stack import Stack, StackFailedError, redis_program
from redis.backoff import ConstantBackoff
from redis.retry import Retry


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
