"""Clients and their errors in other processes, and in the fingerprints of `datasets`."""

import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import congrad
import httpx
import pytest
from congrad import AsyncClient, Client, Timeouts
from congrad.contract import wire
from datasets import Dataset
from datasets.fingerprint import Hasher
from support.stub_service import StubService, sample


class Fresh(httpx.MockTransport):
    """A stub that can be pickled, new in each process."""

    def __init__(self) -> None:
        super().__init__(StubService())

    def __reduce__(self) -> tuple[Any, ...]:
        return Fresh, ()


def copied(text: bytes) -> Any:
    return pickle.loads(text)  # noqa: S301 # it was written here


def scored(client: Client) -> list[bool]:
    return client.filter([sample(-1), sample(1)]).keep


def test_a_client_goes_to_a_process_that_is_spawned() -> None:
    with Client("http://stub", transport=Fresh()) as client, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert scored(client) == pool.apply(scored, [client]) == [True, False]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_copy_has_the_same_settings_and_connections_of_its_own(kind: type[Client] | type[AsyncClient]) -> None:
    client = kind("http://here", "secret", timeout=Timeouts(total=7), max_retries=5)
    copy = copied(pickle.dumps(client.with_options(max_downtime=1)))
    assert (copy.base_url, copy._headers) == (client.base_url, client._headers)
    assert (copy._policy.timeouts.total, copy._policy.max_retries, copy._policy.max_downtime) == (7, 5, 1)
    assert copy._http is not client._http
    assert not copy._is_copy, "it closes what is its own"


def test_a_token_of_the_environment_is_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    without = pickle.dumps(Client("http://here"))
    monkeypatch.setenv("CONGRAD_API_KEY", "a-secret")
    client = Client("http://here")
    assert pickle.dumps(client) == without
    assert copied(without)._headers["Authorization"] == "Bearer a-secret"


def test_a_fingerprint_is_of_the_settings_whatever_a_client_has_done() -> None:
    first, second = (Client("http://here", "secret", max_retries=1) for _ in range(2))
    with pytest.raises(congrad.CongradError):
        first.with_options(max_downtime=0, timeout=0.1).filter([sample(1)])
    assert Hasher.hash(first) == Hasher.hash(second)
    assert Hasher.hash(first) != Hasher.hash(Client("http://there", "secret", max_retries=1))
    code = "import congrad; from datasets.fingerprint import Hasher\n" + (
        "print(Hasher.hash(congrad.Client('http://here', 'secret', max_retries=1)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == Hasher.hash(first)


@contextmanager
def cached(folder: Path, rows: list[dict[str, Any]]) -> Iterator[Dataset]:
    """A dataset whose maps are kept on the disk."""
    Dataset.from_list(rows).save_to_disk(folder)
    yield Dataset.load_from_disk(folder)


def test_a_map_that_asks_a_client_is_done_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def act(_: httpx.Request) -> None:
        asked.append(1)

    stub = StubService(before=act)
    with (
        cached(tmp_path / "rows", [sample(number) for number in (-1, 1, 2, -2)]) as rows,
        Client("http://stub", transport=_Shared(stub)) as client,
    ):
        kept = [rows.map(lambda row: {"keep": client.filter([row]).keep[0]})["keep"][:] for _ in range(2)]
    assert kept == [[True, False, False, True]] * 2
    assert len(asked) == 4


class _Shared(httpx.MockTransport):
    """A stub of this process, that a fingerprint knows by its class alone."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Fresh, ()


def errors() -> list[congrad.CongradError]:
    told = wire.Problem(title="t", status=422, detail="d", errors=[{"pointer": "/samples/3", "detail": "x"}])
    job = wire.Job.model_validate(
        {
            "id": "j",
            "status": "failed",
            "direction": "d",
            "samples": 1,
            "created": "2026-01-01T00:00:00Z",
            "progress": {"done": 0, "total": 1},
        }
    )
    return [
        congrad.UnprocessableError(told, "r1"),
        congrad.JobFailedError(job, told),
        congrad.JobNotFinishedError(job, 3.0),
        congrad.JobCancelledError(job),
        congrad.InvalidSampleError(4, "it is a list"),
        congrad.APIResponseError("no answer", 200, "<html>"),
        congrad.APITimeoutError("late"),
    ]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_in_another_process(error: congrad.CongradError) -> None:
    error.undecided = [3]
    error.add_note("2 of 3")
    copy = copied(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)
