"""Retained gradients in a gradient store, over a real Redis and without Celery: the same decisions as from Redis,
little in Redis, and nothing lost or left over whatever is killed."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.decisions.direction import Samples
from congrad_worker.errors import ShardStoreError
from congrad_worker.tasks import chunks as chunks_module
from congrad_worker.tasks.deciding import verdicts
from congrad_worker.tasks.records import ChunkResult
from congrad_worker.tasks.shelf import Shelf, is_reference
from congrad_worker.tasks.store import Store
from support.bench import Bench
from support.object_store import ObjectStore
from support.pairs import demo_samples
from support.stored import has_gradients, record_of

from benchmarks.waiting_worker.engine import WaitingEncoder, WaitingEngine
from benchmarks.waiting_worker.settings import WaitingSettings

Hands = tuple[WaitingEncoder, WaitingEngine]


@pytest.fixture
def hands(tmp_path_factory: pytest.TempPathFactory) -> tuple[WaitingEncoder, WaitingEngine]:
    """Gradients that are made up of what a pair's prompt is, the same each time."""
    at_once = tmp_path_factory.mktemp("hands") / "pair_ms"
    at_once.write_text("0")
    settings = WaitingSettings(pair_ms_file=at_once, dim=64, by_content=True)
    return WaitingEncoder(settings), WaitingEngine(settings)


@pytest.fixture
def bench(redis_url: str, tmp_path: Path, hands: Hands) -> Iterator[Bench]:
    bench = Bench(redis_url, hands, gradient_store=f"file://{tmp_path}")
    yield bench
    bench.store.redis.close()


def shelf_of(bench: Bench) -> Shelf:
    assert bench.store.shelf is not None
    return bench.store.shelf


def files(folder: Path, job_id: str) -> list[str]:
    return sorted(path.name for path in (folder / job_id).glob("*"))


def known(bench: Bench, job_id: str) -> bool:
    """Whether a decide worker will look for files of a job."""
    members = cast("list[bytes]", bench.store.redis.zrange(keys.STORED, 0, -1))
    return any(member.decode().startswith(job_id) for member in members)


def look_again(bench: Bench) -> None:
    """Frees as if all times had come."""
    for member in cast("list[bytes]", bench.store.redis.zrange(keys.STORED, 0, -1)):
        bench.store.redis.zadd(keys.STORED, {member: 1.0})
    bench.store.free_stored()


def two_passes(bench: Bench) -> list[list[wire.Decision]]:
    """The decisions of both passes over three jobs, one of which has a pair again."""
    rows = {tag: demo_samples(tag, each=9) for tag in ("de", "fr", "ja")}
    batches = [
        rows["de"][:4] + rows["fr"][:4],
        rows["ja"][:5] + rows["fr"][3:6],
        rows["de"][4:8] + rows["ja"][5:],
    ]
    jobs = [bench.create(samples=batch, retain=True) for batch in batches]
    results = [bench.run(*job).result for job in jobs]
    for job_id, _ in jobs:
        again = bench.rescore(job_id, retain=True, selection={"kind": "fraction", "keep": 0.5})
        bench.judge.settle(again)
        results.append(bench.result(again))
    return [result.decisions for result in results if result is not None]


@pytest.mark.parametrize(
    ("kind", "max_bytes"),
    [("file", 2**27), ("file", 1), ("s3", 2**27)],
    ids=["file", "file, read anew each time", "s3"],
)
def test_decisions_are_those_from_redis_bit_for_bit(
    kind: str, max_bytes: int, redis_url: str, hands: Hands, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"file://{tmp_path}"
    if kind == "s3":
        objects: ObjectStore = request.getfixturevalue("object_store")
        url = objects.new_bucket()
    tokens = 200 if kind == "file" else 2_000  # several files of a job, and one
    expected = two_passes(Bench(redis_url, hands, chunk_tokens=tokens))
    bench = Bench(redis_url, hands, gradient_store=url, chunk_tokens=tokens)
    bench.store.redis.flushall()
    bench.store.shelf = Shelf(shelf_of(bench).shards, max_bytes=max_bytes)
    assert two_passes(bench) == expected


def test_redis_has_references_only_and_nothing_of_what_is_not_retained_is_in_the_store(
    bench: Bench, tmp_path: Path
) -> None:
    job_id, chunks = bench.create(retain=True)
    other, others = bench.create()
    for number in range(chunks):
        bench.processor.process(job_id, number)
    for number in range(others):
        bench.processor.process(other, number)
    kept = cast("list[bytes]", bench.store.redis.mget(keys.all_gradients(job_id, chunks)))
    assert all(is_reference(reference) and len(reference) < 128 for reference in kept)
    assert [name.split("-")[0] for name in files(tmp_path, job_id)] == [f"{number:06d}" for number in range(chunks)]
    assert not any(map(is_reference, cast("list[bytes]", bench.store.redis.mget(keys.all_gradients(other, others)))))
    assert files(tmp_path, other) == []


def test_files_are_kept_as_long_as_their_references(bench: Bench) -> None:
    job_id, chunks = bench.create(retain=True)
    for number in range(chunks):
        bench.processor.process(job_id, number)
    redis = bench.store.redis
    redis.zadd(keys.STORED, {job_id: bench.store.now() + 5})  # as after a long wait for the decision
    bench.judge.settle(job_id)
    until = redis.zscore(keys.STORED, job_id)
    assert until is not None
    assert until - bench.store.now() == pytest.approx(redis.ttl(keys.gradients(job_id, 0)), abs=2)
    bench.store.free_stored()
    assert bench.store.gradients(record_of(bench.store, job_id)) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["deleted", "scored again", "cancelled", "expired"])
def test_what_is_no_longer_needed_is_freed(how: str, bench: Bench, tmp_path: Path) -> None:
    job_id, chunks = bench.create(retain=True)
    for number in range(chunks):
        bench.processor.process(job_id, number)
    assert len(files(tmp_path, job_id)) == chunks
    match how:
        case "cancelled":
            bench.cancel(job_id)
        case "deleted":
            bench.judge.settle(job_id)
            bench.cancel(job_id)
        case "scored again":
            bench.judge.settle(job_id)
            bench.judge.settle(bench.rescore(job_id))
        case "expired":
            bench.judge.settle(job_id)
            bench.store.redis.zadd(keys.STORED, {job_id: bench.store.now()})
    bench.store.free_stored()
    assert not (tmp_path / job_id).exists()
    assert known(bench, job_id), "it is looked at once more"
    late = shelf_of(bench).shards.put(job_id, "000000", b"of a worker that was slower than its job")
    look_again(bench)
    assert shelf_of(bench).shards.get(late) is None
    look_again(bench)
    assert not known(bench, job_id)


@pytest.mark.parametrize("dies", [False, True], ids=["", "and dies"])
def test_what_a_worker_writes_after_its_job_was_looked_for_is_freed(
    dies: bool, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, _ = bench.create(retain=True)
    shards, put = shelf_of(bench).shards, shelf_of(bench).shards.put

    class Killed(BaseException):
        """As SIGKILL: nobody catches it."""

    def slow(*args: Any) -> str:
        bench.cancel(job_id)
        bench.store.free_stored()
        if not dies:
            look_again(bench)
        name = put(*args)
        if dies:
            raise Killed
        return name

    with monkeypatch.context() as patched:
        patched.setattr(shards, "put", slow)
        with pytest.raises(Killed) if dies else nullcontext():
            bench.processor.process(job_id, 0)
    assert len(files(tmp_path, job_id)) == 1
    look_again(bench)
    assert files(tmp_path, job_id) == []


def test_one_worker_frees_at_a_time(bench: Bench, tmp_path: Path) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    bench.cancel(job_id)
    bench.store.redis.set(keys.FREEING, "another")
    bench.store.free_stored()
    assert len(files(tmp_path, job_id)) == chunks


def test_who_has_taken_too_long_to_free_does_not_end_the_turn_of_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    bench.cancel(job_id)
    redis, free = bench.store.redis, shelf_of(bench).shards.free

    def slow(folder: str) -> bool:
        redis.set(keys.FREEING, "another")  # its own has lapsed
        return free(folder)

    monkeypatch.setattr(shelf_of(bench).shards, "free", slow)
    bench.store.free_stored()
    assert redis.get(keys.FREEING) == b"another"


def test_files_that_cannot_go_hold_up_no_other_job(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [bench.create(retain=True) for _ in range(3)]
    for job in jobs:
        bench.run(*job)
    stuck, *others = (job_id for job_id, _ in jobs)
    for job_id in (stuck, *others):
        bench.cancel(job_id)
    free = shelf_of(bench).shards.free

    def fail(folder: str) -> bool:
        if folder == stuck:
            raise ShardStoreError("the gradient store (file) fails: Directory not empty")
        return free(folder)

    with monkeypatch.context() as patched:
        patched.setattr(shelf_of(bench).shards, "free", fail)
        bench.store.free_stored()
        bench.store.free_stored()
    assert [(tmp_path / job_id).exists() for job_id in (stuck, *others)] == [True, False, False]
    assert [stuck in message for message in caplog.messages] == [True], "it is not tried again at once"
    look_again(bench)
    assert not (tmp_path / stuck).exists()


def test_files_are_not_mapped_by_a_worker_that_takes_them_away_nor_for_long_by_another(
    bench: Bench, redis_url: str, hands: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS a file that is mapped stays under another name, and its folder with it."""
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    other = Bench(redis_url, hands, gradient_store=f"file://{tmp_path}")
    free = shelf_of(bench).shards.free

    def is_mapped() -> bool:
        return str(tmp_path / job_id) in Path("/proc/self/maps").read_text()

    def as_on_nfs(folder: str) -> bool:
        if is_mapped():
            raise ShardStoreError("the gradient store (file) fails: Directory not empty")
        return free(folder)

    monkeypatch.setattr(shelf_of(bench).shards, "free", as_on_nfs)
    record = record_of(other.store, job_id)
    assert record is not None
    assert other.store.gradients(record) is not None
    bench.store.free_stored()
    assert shelf_of(bench).jobs == shelf_of(other).jobs == {job_id}, "it is still needed"
    bench.cancel(job_id)
    bench.store.free_stored()
    assert shelf_of(bench).jobs == set()
    assert (tmp_path / job_id).exists(), "the other maps it"
    other.store.free_stored()
    assert not is_mapped()
    look_again(bench)
    assert not (tmp_path / job_id).exists()


def test_a_worker_that_dies_between_file_and_reference_loses_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = bench.run(*bench.create(retain=True)).result
    assert truth is not None
    bench.reset()
    job_id, chunks = bench.create(retain=True)

    class Killed(BaseException):
        """As SIGKILL: nobody catches it."""

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "_complete", die)
        with pytest.raises(Killed):
            bench.processor.process(job_id, 0)
    written = files(tmp_path, job_id)
    assert len(written) == 1
    assert not has_gradients(bench.store, job_id, 0)
    result = bench.run(job_id, chunks).result
    assert result is not None
    assert result.decisions == truth.decisions
    assert files(tmp_path, job_id)[0] == written[0], "the same content has the same name"
    assert len(files(tmp_path, job_id)) == chunks


def test_an_ended_job_gets_no_files(bench: Bench, tmp_path: Path) -> None:
    job_id, chunks = bench.create(retain=True)
    assert chunks > 1
    bench.processor.process(job_id, 0)
    result = shelf_of(bench).get(cast("bytes", bench.store.redis.get(keys.gradients(job_id, 0))))
    assert result is not None
    bench.cancel(job_id)
    bench.store.put_gradients(job_id, 1, result)
    assert len(files(tmp_path, job_id)) == 1
    assert not has_gradients(bench.store, job_id, 1)


@pytest.mark.parametrize("stage", ["gradients", "decide"])
def test_a_store_that_fails_is_waited_for_and_then_given_up(
    stage: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, chunks = bench.create(retain=True)
    queue = keys.gradients_queue("f00d")
    if stage == "decide":
        for number in range(chunks):
            bench.processor.process(job_id, number)
        queue = keys.DECIDE_QUEUE

    def work() -> None:
        bench.store.turn(queue)
        if stage == "decide":
            bench.judge.settle(job_id)
        else:
            bench.processor.process(job_id, 0)

    def fail(*_: Any) -> bytes:
        raise ShardStoreError("the gradient store (file) fails: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shelf_of(bench).shards, "put", fail)
        patched.setattr(shelf_of(bench).shards, "view", fail)
        for _ in range(verdicts.MAX_ATTEMPTS + 2):  # which is no failed attempt
            with pytest.raises(ShardStoreError):
                work()
        assert not bench.job(job_id).status.ended
        patched.setattr(chunks_module, "MEMORY_PATIENCE_S", -1.0)
        patched.setattr(verdicts, "STORE_PATIENCE_S", -1.0)
        work()
    error = bench.job(job_id).error
    assert error is not None
    assert error.status == 503
    assert "the gradient store (file) fails: No space left on device" in error.detail


def test_a_store_that_comes_back_goes_on_where_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, chunks = bench.create(retain=True)

    def fail(*_: Any) -> bytes:
        raise ShardStoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(shelf_of(bench).shards, "put", fail)
        bench.store.turn(keys.gradients_queue("f00d"))
        with pytest.raises(ShardStoreError):
            bench.processor.process(job_id, 0)
    computed = bench.processor.activity.tokens
    bench.processor.process(job_id, 0)
    assert bench.processor.activity.tokens == computed, "its gradients were still there"
    assert bench.run(job_id, chunks).status is wire.JobStatus.SUCCEEDED


@pytest.mark.parametrize("when", ["before", "while it is read"])
def test_files_that_are_gone_are_no_longer_kept(when: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    again = bench.rescore(job_id)
    read = bench.judge.directions.read

    def free_and_read(name: str) -> Any:
        shelf_of(bench).shards.free(job_id)
        return read(name)

    bench.store.shelf = Shelf(shelf_of(bench).shards, max_bytes=1)
    if when == "before":
        shelf_of(bench).shards.free(job_id)
    else:
        monkeypatch.setattr(bench.judge.directions, "read", free_and_read)
    bench.judge.settle(again)
    error = bench.job(again).error
    assert error is not None
    assert (error.status, error.detail) == (409, f"the gradients of job {job_id} are no longer kept")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "another file": lambda content: bytes(len(content)),
}
"""What may become of a file."""


@pytest.mark.parametrize("kind", DAMAGE)
def test_files_that_are_damaged_are_named_and_waited_for_by_nobody(kind: str, bench: Bench, tmp_path: Path) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    bench.store.shelf = Shelf(shelf_of(bench).shards)  # another worker's, which has nothing in memory
    name, *_ = files(tmp_path, job_id)
    path = tmp_path / job_id / name
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    again = bench.rescore(job_id, retain=True)
    bench.judge.settle(again)
    error = bench.job(again).error
    assert error is not None
    assert error.status == 409
    assert error.detail == (
        f"the gradients of job {job_id} cannot be read any more: {job_id}/{name} is damaged in the gradient store"
    )


@pytest.mark.parametrize("kind", DAMAGE)
def test_inner_products_that_are_damaged_are_computed_again(kind: str, bench: Bench, tmp_path: Path) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)

    def ask() -> list[wire.Decision]:
        again = bench.rescore(job_id, retain=True)
        bench.judge.settle(again)
        return bench.result(again).decisions

    first = ask()
    (path,) = (tmp_path / job_id).glob("*.products")
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[kind](whole))
    assert ask() == first
    assert path.read_bytes() == whole


def test_gradients_in_a_store_that_a_worker_does_not_know_are_waited_for(bench: Bench) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    job = record_of(bench.store, job_id)
    assert job is not None
    settings = bench.settings.model_copy(update={"gradient_store": "redis"})
    with pytest.raises(ShardStoreError, match="CONGRAD_GRADIENT_STORE says where, and is unset"):
        Store(settings).gradients(job)


def test_a_chunk_comes_back_as_it_was(bench: Bench) -> None:
    whole = ChunkResult(
        ids=["a", "b"],
        samples=Samples.of(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), ["de", "fr"]),
        truncated=[True, False],
        errors=[],
        pairs=[b"x" * 16, None],
        ratios=[0.5, None],
    )
    refused = ChunkResult(["a"], Samples.of(np.zeros((0, 2), np.float32), ["de"]), [], [(0, "no pair")])
    for chunk in (whole, refused):
        found = shelf_of(bench).get(shelf_of(bench).put("0" * 32, 0, chunk))
        assert found is not None
        assert (found.ids, found.truncated, found.errors) == (chunk.ids, chunk.truncated, chunk.errors)
        assert (found.pairs, found.ratios) == (chunk.pairs, chunk.ratios)
        assert (found.samples.norms == chunk.samples.norms).all()
        assert found.samples.dim == 2
        rows = np.arange(len(chunk.samples.units))
        assert (found.samples.halves(rows) == chunk.samples.units).all()


def test_eight_bits_are_half_as_much_and_scores_are_what_they_were(
    redis_url: str, hands: Hands, tmp_path: Path
) -> None:
    """The second pass, of gradients whose numbers are as unlike in size as those of a model."""
    expected = two_passes(Bench(redis_url, hands))
    bench = Bench(redis_url, hands, gradient_store=f"file://{tmp_path}", gradient_bits=8)
    bench.store.redis.flushall()
    found = two_passes(bench)
    for ours, theirs in zip(found, expected, strict=True):
        short, exact = (np.array([one.conflict_score for one in decisions], float) for decisions in (ours, theirs))
        assert np.allclose(short, exact, atol=5e-3)
        assert not np.array_equal(short, exact)
    sizes = []
    for bits in (16, 8):
        chunk = ChunkResult(["a"], Samples.of(np.ones((1, 4096), np.float32), ["de"]), [False], [])
        sizes.append(len(chunk.dump(bits)))
    assert sizes[1] < 0.6 * sizes[0]


def asked_again(bench: Bench, job_id: str, **body: Any) -> list[wire.Decision]:
    again = bench.rescore(job_id, retain=True, **body)
    bench.judge.settle(again)
    return bench.result(again).decisions


def test_another_question_reads_no_gradients_again_and_has_the_same_answer(
    redis_url: str, hands: Hands, tmp_path: Path
) -> None:
    """One after another, and with a direction that has moved on in between."""
    questions: list[dict[str, Any]] = [{}, {"aggregator": "mean"}, {"languages": ["de"]}, {"aggregator": "agreement"}]

    def answers(bench: Bench, without_files: bool) -> list[list[wire.Decision]]:
        job_id, chunks = bench.create(samples=demo_samples("de", "fr", each=4), retain=True)
        bench.run(job_id, chunks)
        found = [asked_again(bench, job_id, **questions[0])]
        hidden = tmp_path / "hidden"
        if without_files:
            bench.store.shelf = Shelf(shelf_of(bench).shards)  # with nothing in memory
            hidden.mkdir()
            for file in (tmp_path / job_id).glob("*.safetensors"):
                file.rename(hidden / file.name)
        found += [asked_again(bench, job_id, **question) for question in questions]
        for file in hidden.glob("*"):
            file.rename(tmp_path / job_id / file.name)
        bench.run(*bench.create(samples=demo_samples("ja", "fr", each=6)))
        return found + [asked_again(bench, job_id, **question) for question in questions]

    expected = answers(Bench(redis_url, hands), without_files=False)
    bench = Bench(redis_url, hands, gradient_store=f"file://{tmp_path}")
    bench.store.redis.flushall()
    assert answers(bench, without_files=True) == expected


def test_a_direction_that_moves_on_meanwhile_has_gradients_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, chunks = bench.create(samples=demo_samples("de", "fr", each=4), retain=True)
    bench.run(job_id, chunks)
    before = asked_again(bench, job_id)
    other = bench.create(samples=demo_samples("ja", "fr", each=6))
    recall = bench.store.recall

    def recall_and_be_overtaken(*args: Any) -> Any:
        monkeypatch.undo()
        bench.run(*other)
        return recall(*args)

    monkeypatch.setattr(bench.store, "recall", recall_and_be_overtaken)
    after = asked_again(bench, job_id)
    assert after != before
    assert after == asked_again(bench, job_id)
