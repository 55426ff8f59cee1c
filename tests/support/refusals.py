"""A Redis that is there and says no: what it says while it fails over, its disk is full, or its memory is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import redis

from support.waiting import until

NOBODY = ("127.0.0.1", 9)
"""The discard port: no primary is there, and what Redis holds stays as it is."""


@contextmanager
def read_only(connection: "redis.Redis") -> Iterator[None]:
    """READONLY, as of a primary that has become a replica."""
    connection.replicaof(*NOBODY)
    try:
        yield
    finally:
        connection.replicaof("NO", "ONE")


@contextmanager
def misconfigured(connection: "redis.Redis") -> Iterator[None]:
    """MISCONF: it cannot write a snapshot, and where snapshots are wanted it takes no writes either."""
    settings = cast("dict[str, str]", connection.config_get("*"))
    in_the_way = Path(settings["dir"], settings["dbfilename"])
    in_the_way.mkdir()
    try:
        connection.config_set("save", "3600 1")
        connection.execute_command("BGSAVE")
        until(lambda: connection.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield
    finally:
        in_the_way.rmdir()
        connection.config_set("save", settings["save"])


@contextmanager
def full(connection: "redis.Redis") -> Iterator[None]:
    """OOM: the memory that it may have is used up."""
    before = cast("dict[str, str]", connection.config_get("maxmemory"))["maxmemory"]
    connection.config_set("maxmemory", "1mb")
    try:
        yield
    finally:
        connection.config_set("maxmemory", before)


REFUSALS: dict[str, Callable[["redis.Redis"], Any]] = {"READONLY": read_only, "MISCONF": misconfigured, "OOM": full}
