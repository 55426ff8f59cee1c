"""What the steward does when it looks: a real Redis, and a real checkpoint in memory."""

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from congrad_service import keys
from congrad_service.queue.orders import Order
from congrad_service.queue.publication import Asked, read
from congrad_service.queue.registry import Role
from congrad_worker.checkpoints.files import CheckpointFiles, locate, relocate
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.serving import resident as resident_module
from congrad_worker.serving import steward as module
from congrad_worker.serving.desk import Desk
from congrad_worker.serving.resident import Resident
from congrad_worker.serving.served import Identity, Served
from congrad_worker.serving.steward import Origin, Steward, Surroundings
from congrad_worker.tasks.store import Store
from support.adapters import save_adapter
from support.models import settings
from support.serving import service, submit
from support.waiting import until


@dataclass
class Worker:
    """A steward with all that is around it, which is only noted."""

    store: Store
    resident: Resident
    heart: Heartbeat
    origin: Origin
    announced: list[Identity] = field(default_factory=list)
    worked: list[tuple[str, list[tuple[str, int]]]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    beats: list[None] = field(default_factory=list)
    meanwhile: Callable[[Served], None] = lambda _: None

    def __post_init__(self) -> None:
        self.desk = Desk(self.store)
        beat = lambda: self.beats.append(None)  # noqa: E731 # as short as it is
        around = Surroundings(self._work, self._announce, beat, self.forgotten.append, pytest.fail)
        self.steward = Steward(self.desk, self.resident, around, self.origin)

    def _work(self, served: Served) -> bool:
        self.meanwhile(served)
        pieces = self.store.chunk_turns(served.identity.queue, 0)
        if pieces:
            self.worked.append((served.identity.fingerprint, pieces))
        return bool(pieces)

    def _announce(self, identity: Identity) -> None:
        self.announced.append(identity)
        self.heart.announce(identity.announcement)

    @property
    def fingerprint(self) -> str:
        return self.resident.identity.fingerprint

    def located(self, adapter: Path) -> CheckpointFiles:
        own = self.resident.identity
        return relocate(own.files, own.settings.model_copy(update={"adapter": str(adapter)}))

    def ask(
        self, sequence: int = 0, model: Path | None = None, adapter: Path | None = None, replaces: str | None = None
    ) -> Asked:
        """Publishes something, as the service does."""
        sources = {"model": model and str(model), "adapter": adapter and str(adapter)}
        name, replaces = uuid.uuid4().hex, replaces or self.fingerprint
        asked = Asked(id=name, replaces=replaces, created=self.store.now(), sequence=sequence, **sources)
        self.store.redis.hset(keys.publication(name), "asked", asked.model_dump_json())
        self.store.redis.set(keys.publishing(replaces), name)
        return asked

    def state(self, asked: Asked) -> Any:
        raw: Any = self.store.redis.hgetall(keys.publication(asked.id))
        return read(raw, self.desk.serving())

    def order(self, number: int, level: Any) -> None:
        order = Order(number=number, level=level)
        self.store.redis.set(keys.order(self.store.worker_id), order.model_dump_json())


@pytest.fixture
def worker(redis_url: str, small_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(module, "BEGIN_S", 0.0)
    own = settings(small_llama, redis_url=redis_url, models=str(tmp_path), idle_sleep=3600)
    store, decide = Store(own), Store(own)
    files = locate(own)
    resident = Resident(store, files, own)
    hearts = [Heartbeat(store, Role.GRADIENTS, resident.identity.announcement), Heartbeat(decide, Role.DECIDE)]
    for heart in hearts:
        heart.start()
    yield Worker(store, resident, hearts[0], Origin(files.fingerprint, own))
    for heart in hearts:
        heart.stop()
    for each in (store, decide):
        each.redis.close()


@pytest.fixture
def adapter(small_llama: Path, tmp_path: Path) -> Path:
    return save_adapter(small_llama, tmp_path / "adapter")


def job(redis_url: str, checkpoint: str) -> str:
    """A job that waits for a checkpoint; its id."""

    async def posted() -> str:
        async with service(redis_url) as client:
            return await submit(client, ["de"], checkpoint=checkpoint)

    return asyncio.run(posted())


def test_a_publication_is_served_announced_and_written_down(worker: Worker, adapter: Path) -> None:
    first, asked = worker.fingerprint, worker.ask(adapter=adapter)
    expected = worker.located(adapter).fingerprint
    worker.steward.look()
    assert worker.fingerprint == expected != first
    assert [one.fingerprint for one in worker.announced] == [expected]
    found = worker.state(asked)
    assert (found.status, found.fingerprint, found.name) == ("served", expected, worker.resident.identity.files.name)
    successor = worker.desk.successor(first)
    assert successor is not None
    assert (successor.fingerprint, successor.adapter) == (expected, str(adapter))
    assert successor.previous is not None
    assert successor.previous.fingerprint == first
    assert worker.forgotten == [keys.gradients_queue(first)], "nothing waits there, and nobody serves it"
    worker.steward.look()
    assert len(worker.announced) == len(worker.forgotten) == 1


def test_what_is_published_while_work_for_the_last_begins_is_served_without_a_wait(
    worker: Worker, adapter: Path, small_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN_S", 60.0)
    second = save_adapter(small_llama, tmp_path / "second", seed=1)
    expected = worker.located(second).fingerprint

    def ask(_: Served) -> None:
        monkeypatch.setattr(module, "BEGIN_S", 0.0)
        worker.meanwhile = lambda _: None
        worker.ask(adapter=second)
        worker.store.redis.rpush(keys.told(worker.store.worker_id), "1")

    worker.meanwhile = ask
    worker.ask(adapter=adapter)
    begun = time.monotonic()
    worker.steward.look()
    assert worker.fingerprint == expected
    assert time.monotonic() - begun < 30


def test_a_worker_that_is_told_to_sleep_while_work_for_a_checkpoint_begins_stays_asleep(
    worker: Worker, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGIN_S", 1.0)

    def order(_: Served) -> None:
        worker.order(1, "discard")
        worker.store.redis.rpush(keys.told(worker.store.worker_id), "1")

    worker.meanwhile = order
    worker.ask(adapter=adapter)
    worker.steward.look()
    assert worker.steward.order == 1
    assert worker.resident.asleep == "discard"


def test_a_worker_that_is_late_with_a_publication_does_the_next_one_too(
    worker: Worker, adapter: Path, small_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = save_adapter(small_llama, tmp_path / "second", seed=1)
    first, middle, last = worker.fingerprint, worker.located(adapter).fingerprint, worker.located(second).fingerprint
    replace = worker.resident.replace

    def late(*args: Any) -> None:
        """While it loads, others have the checkpoint, and the next is asked for in its place."""
        monkeypatch.setattr(worker.resident, "replace", replace)
        worker.ask(adapter=second, replaces=middle)
        replace(*args)

    monkeypatch.setattr(worker.resident, "replace", late)
    asked = worker.ask(adapter=adapter)
    worker.steward.look()
    assert [one.fingerprint for one in worker.announced] == [middle, last]
    successor = worker.desk.successor(first)
    assert successor is not None
    assert (successor.fingerprint, successor.created > asked.created) == (last, True)


def test_a_worker_goes_back_to_an_earlier_checkpoint_and_stays_there(
    worker: Worker, adapter: Path, small_llama: Path
) -> None:
    first = worker.fingerprint
    for _ in range(2):
        worker.ask(adapter=adapter)
        worker.steward.look()
        asked = worker.ask(model=small_llama)
        worker.steward.look()
        assert (worker.state(asked).status, worker.fingerprint) == ("served", first)
        worker.steward.look()
        assert (worker.fingerprint, worker.desk.asked(first)) == (first, None)


def test_jobs_that_came_late_are_computed_against_what_they_asked_for(
    worker: Worker, adapter: Path, redis_url: str
) -> None:
    first = worker.fingerprint
    late = job(redis_url, first)
    worker.ask(sequence=0, adapter=adapter)  # before that job
    worker.steward.look()
    assert worker.fingerprint != first
    assert worker.worked == [(first, [(late, 0)])]
    assert worker.forgotten == [keys.gradients_queue(first)]
    later = job_past_the_service(worker, redis_url, first)
    worker.steward.look()
    assert worker.worked[1:] == [(first, [(later, 0)])]


def test_jobs_for_a_checkpoint_before_the_last_are_computed_too(
    worker: Worker, adapter: Path, small_llama: Path, tmp_path: Path, redis_url: str
) -> None:
    """The worker that was at them has died, and the others have gone on twice."""
    first, middle = worker.fingerprint, worker.located(adapter).fingerprint
    second = save_adapter(small_llama, tmp_path / "second", seed=1)
    for source in (adapter, second):
        worker.ask(adapter=source)
        worker.steward.look()
    late = [job_past_the_service(worker, redis_url, one) for one in (first, middle)]
    worker.steward.look()
    assert sorted(worker.worked) == sorted([(first, [(late[0], 0)]), (middle, [(late[1], 0)])])
    assert worker.fingerprint == worker.located(second).fingerprint
    gone = [*worker.forgotten]
    worker.steward.look()
    assert worker.forgotten == gone, "nothing has come since"


def test_jobs_for_a_checkpoint_before_the_last_that_is_gone_are_left_to_who_may_have_it(
    worker: Worker, adapter: Path, small_llama: Path, tmp_path: Path, redis_url: str
) -> None:
    middle, second = worker.located(adapter).fingerprint, save_adapter(small_llama, tmp_path / "second", seed=1)
    for sources in ({"adapter": adapter}, {"adapter": second}, {"model": small_llama}):
        worker.ask(**sources)  # type: ignore[arg-type] # the names are right
        worker.steward.look()
    shutil.rmtree(adapter)
    late = job_past_the_service(worker, redis_url, middle)
    for _ in range(2):
        worker.steward.look()
    assert not worker.store.has_ended(late)
    assert worker.desk.waiting(keys.gradients_queue(middle)) == 1
    worker.ask(adapter=second)
    worker.steward.look()
    assert worker.fingerprint == worker.located(second).fingerprint


def job_past_the_service(worker: Worker, redis_url: str, fingerprint: str) -> str:
    """A job for what is not served any more: the service had looked before, and was slow."""
    now = worker.resident.identity.announcement
    worker.heart.announce(now.model_copy(update={"fingerprint": fingerprint}))
    late = job(redis_url, fingerprint)
    worker.heart.announce(now)
    return late


def test_what_waited_before_it_was_asked_for_is_done_first(
    worker: Worker, adapter: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker.fingerprint
    waiting = job(redis_url, first)
    asked = worker.ask(sequence=1, adapter=adapter)
    stages = []

    def work(_: float) -> bool:
        """In place of a pause, a task comes and does the work."""
        (own,) = worker.state(asked).workers
        stages.append((worker.fingerprint, own.stage, own.waiting))
        with worker.resident.at_work() as served:
            worker._work(served)
        return False

    monkeypatch.setattr(worker.steward._stopped, "wait", work)
    worker.steward.look()
    assert stages == [(first, "draining", 1)]
    assert worker.worked == [(first, [(waiting, 0)])]
    assert worker.fingerprint != first


def test_what_is_published_onto_a_worker_that_has_no_room_to_wake_up_waits_for_that(
    worker: Worker, adapter: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the trainer that publishes still has the device: no fault of anybody's, and no traceback each second."""

    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    worker.order(1, "discard")
    worker.steward.look()
    asked = worker.ask(adapter=adapter)
    with monkeypatch.context() as short:
        short.setattr(resident_module, "load_base", no_room)
        worker.steward.start()
        until(lambda: "has no room" in caplog.text or "Traceback" in caplog.text)
        assert "Traceback" not in caplog.text
        assert worker.state(asked).status == "loading"
    until(lambda: worker.state(asked).status == "served")
    worker.steward.stop()


def test_what_cannot_be_loaded_is_said_and_jobs_that_waited_for_it_end(
    worker: Worker, adapter: Path, redis_url: str
) -> None:
    first = worker.fingerprint
    (adapter / "adapter_model.safetensors").write_bytes(b"no tensors")
    asked, files = worker.ask(adapter=adapter), worker.located(adapter)
    worker.desk.name(asked, files.name, files.fingerprint)
    waiting = job(redis_url, files.fingerprint)
    worker.steward.look()
    assert (worker.fingerprint, worker.announced) == (first, [])
    found = worker.state(asked)
    assert found.status == "failed"
    assert "cannot be loaded" in found.error
    assert worker.store.has_ended(waiting)
    error = worker.store.redis.hget(keys.job(waiting), "error")
    assert b"the checkpoint that it waited for cannot be served" in bytes(error or b"")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/etc", "is not among what the operator allows"),
        ("link", "is not among what"),
        ("nothing", "is no such folder"),
    ],
)
def test_a_worker_looks_again_at_what_may_be_loaded(source: str, reason: str, worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    asked = worker.ask(adapter=tmp_path / source)
    worker.steward.look()
    found = worker.state(asked)
    assert found.status == "failed"
    assert reason in found.error
    assert str(tmp_path) not in found.error


@pytest.mark.parametrize("source", ["a link", "real/../real/folder"])
def test_a_folder_is_told_by_its_name_whatever_way_leads_there(source: str, worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "real" / "folder").mkdir(parents=True)
    (tmp_path / "a link").symlink_to(tmp_path / "real" / "folder")
    asked = worker.ask(adapter=tmp_path / source)
    worker.steward.look()
    assert worker.state(asked).error == (
        "CONGRAD_ADAPTER=folder: has no adapter_config.json, so it is not a PEFT adapter"
    )


def test_what_is_served_already_is_there_at_once(worker: Worker, small_llama: Path) -> None:
    asked = worker.ask(model=small_llama)  # the operator's own, wherever it lies
    worker.steward.look()
    assert worker.state(asked).status == "served"
    assert worker.announced == []


def test_what_is_served_already_is_looked_at_once_and_leaves_the_place_to_others(
    worker: Worker, small_llama: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker.ask(model=small_llama)
    worker.steward.look()
    said = worker.state(first).workers
    worker.steward.look()
    assert worker.state(first).workers == said, "with the time of the first look"
    asked, settle = worker.ask(model=small_llama), worker.desk.settle

    def late(own: Asked) -> None:
        """Another worker has said it before, and something else was asked for since."""
        settle(own)
        worker.ask(adapter=adapter)
        settle(own)

    monkeypatch.setattr(worker.desk, "settle", late)
    worker.steward.look()
    assert worker.state(asked).status == "served"
    worker.steward.look()
    assert worker.fingerprint == worker.located(adapter).fingerprint


def test_orders_are_obeyed_once_nothing_waits(worker: Worker, redis_url: str) -> None:
    waiting = job(redis_url, worker.fingerprint)
    worker.order(1, "discard")
    worker.steward.look()
    assert (worker.resident.asleep, worker.steward.order) == (None, 0)
    with worker.resident.at_work() as served:
        worker._work(served)
    assert worker.worked == [(worker.fingerprint, [(waiting, 0)])]
    worker.steward.look()
    assert (worker.resident.asleep, worker.steward.order, len(worker.beats)) == ("discard", 1, 1)
    worker.order(2, None)
    worker.steward.look()
    assert (worker.resident.asleep, worker.steward.order, len(worker.beats)) == (None, 2, 2)


def test_a_worker_without_work_falls_asleep_by_itself(worker: Worker) -> None:
    worker.steward.look()
    assert worker.resident.asleep is None
    worker.resident._used -= 3601
    worker.steward.look()
    assert worker.resident.asleep == "discard"
    assert len(worker.beats) == 1
    with worker.resident.at_work():
        assert worker.resident.asleep is None
