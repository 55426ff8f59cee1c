"""Running directions under whatever order of deliveries, races, resets, exports and imports, beside a model of them."""

import asyncio
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import numpy as np
import pytest
import redis.asyncio
from congrad.contract import wire
from congrad_service import keys
from congrad_service.directions.directions import Directions
from congrad_service.http.errors import Conflict, NotFound
from congrad_service.jobs.jobs import Jobs
from congrad_service.scripts.limits import HISTORY
from congrad_worker.decisions.aggregation.surgery import pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules
from congrad_worker.decisions.direction import Samples
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.records import ChunkResult
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from support import direction_model as model
from support.bench import SERVED
from support.fuzzing import examples
from support.interrupted import Interrupted
from support.scoring import explicit_pcgrad
from support.serving import settings
from support.stored import chunk_of

DIM = 12
HALF_LIFE = 8.0
RULES = Rules(Rule("pcgrad", 0, pcgrad), half_life=HALF_LIFE)
TAGS = ("de", "fr", "sw", "zh-Hant")
NAMES = ("a", "b")

NEVER = -1
"""Redis's word for a key that stays; in whole seconds, one that is about to go has 0 left, and one that is gone -2."""
URL: list[str] = []
"""Where Redis is, once there is one."""


@pytest.fixture(autouse=True)
def _redis(redis_url: str) -> Iterator[None]:
    URL[:] = [redis_url]
    yield
    URL.clear()


@dataclass(eq=False)
class Job:
    """A job, and what the model knows of it. The gradients that it asks about are as they are stored."""

    id: str
    name: str
    asked: model.Asked
    update: bool
    retain: bool
    source: "Job | None" = None
    status: str = "open"
    answer: wire.Job | None = None
    kept: bool = False  # its gradients, once it has ended
    life: int | None = None


class DirectionMachine(RuleBasedStateMachine):
    """Every rule does the same to the product and to the model; the invariants compare them."""

    jobs: Bundle[Job] = Bundle("jobs")
    exports: Bundle[tuple[bytes, model.Direction]] = Bundle("exports")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.settings = settings(URL[0], chunk_tokens=4)
        self.store = Interrupted(self.settings)
        self.store.redis.flushall()
        self.redis = redis.asyncio.Redis.from_url(URL[0])
        self.service = Jobs(self.redis, self.settings)
        self.directions = Directions(self.redis)
        self.judge = Judge(self.store, RULES)
        self.expected: dict[str, model.Direction] = {}
        self.epochs: dict[int, bytes] = {}
        self.all: list[Job] = []

    def teardown(self) -> None:
        self.call(self.redis.aclose())
        self.loop.close()
        self.store.redis.close()

    def call(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    # What happens.

    @rule(
        target=jobs,
        name=st.sampled_from(NAMES),
        tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=6),
        update=st.booleans() | st.just(True),
        retain=st.booleans(),
        once=st.booleans() | st.just(True),
        numbers=st.lists(st.none() | st.integers(0, 7), min_size=6, max_size=6),
        special=st.sampled_from(["none", "none", "none", "zero", "nan", "all zero"]),
    )
    def submit(
        self,
        name: str,
        tags: list[str],
        update: bool,
        retain: bool,
        once: bool,
        numbers: list[int | None],
        special: str,
    ) -> Job:
        """A job whose gradients are computed, and which nobody has decided yet. Pairs of a language that have the same
        number are the same, whatever their gradients: those are rounded, and here differ altogether."""
        draw = np.random.default_rng(len(self.all))
        rows = draw.standard_normal((len(tags), DIM)) * draw.uniform(0.1, 10, (len(tags), 1))
        if special != "none":
            rows[slice(None) if special == "all zero" else 0] = np.nan if special == "nan" else 0.0
        samples = [{"language": tag, "chosen": "c", "rejected": "r"} for tag in tags]
        repeats = "once" if once else "count"
        request = wire.FilterRequest.model_validate(
            {"samples": samples, "direction": name, "update": update, "retain": retain, "repeats": repeats}
        )
        accepted = self.call(self.service.create(request, SERVED, None))
        stored = Samples.of(rows.astype(np.float32), tags)
        units, norms = stored.units.astype(np.float64), stored.norms.astype(np.float64)
        units[~np.isfinite(norms)] = np.nan
        gradients = np.where(np.isfinite(norms)[:, None], units * np.nan_to_num(norms)[:, None], np.nan)
        job = Job(accepted.job_id, name, model.Asked(gradients, tags, numbers[: len(tags)], once), update, retain)
        self.all.append(job)
        first = 0
        for number in range(accepted.chunks):
            first = self.deliver_chunk(job, number, rows, first)
        return job

    def deliver_chunk(self, job: Job, number: int, rows: np.ndarray, first: int) -> int:
        """Leaves the gradients of a chunk; where the next one begins."""
        self.store.start(job.id, number)
        chunk = chunk_of(self.store, job.id, number)
        assert chunk is not None
        last = first + len(chunk)
        part = Samples.of(rows[first:last].astype(np.float32), job.asked.tags[first:last])
        ids = [str(sample.id) for sample in chunk]
        hashes = [None if one is None else sha256(bytes([one])).digest()[:16] for one in job.asked.numbers[first:last]]
        self.store.put_gradients(job.id, number, ChunkResult(ids, part, [False] * len(ids), [], hashes))
        return last

    @rule(job=jobs)
    def redeliver_a_chunk(self, job: Job) -> None:
        """A chunk that was computed comes back: its gradients are there, or nobody wants them."""
        self.store.start(job.id, 0)
        missing = self.store.complete(job.id, 0)
        assert missing == (0 if job.status == "open" or (job.status == "succeeded" and job.kept) else -1) or job.source

    @rule(job=jobs)
    def decide(self, job: Job) -> None:
        """A decision is delivered, for the first time or again."""
        self.judge.settle(job.id)
        self.expect_decision(job, self.has_gradients(job))

    @rule(job=jobs, other=jobs)
    def decide_while_another_is_decided(self, job: Job, other: Job) -> None:
        """Two workers read before either commits; the other may be the same job, delivered twice."""
        self.interrupt(job, lambda: self.decide(other))

    @rule(job=jobs)
    def decide_while_it_is_cancelled(self, job: Job) -> None:
        self.interrupt(job, lambda: self.cancel(job))

    @rule(job=jobs)
    def decide_while_the_direction_is_reset(self, job: Job) -> None:
        self.interrupt(job, lambda: self.reset(job.name))

    @rule(job=jobs, exported=exports)
    def decide_while_another_direction_is_imported(self, job: Job, exported: tuple[bytes, model.Direction]) -> None:
        self.interrupt(job, lambda: self.import_(job.name, exported))

    def interrupt(self, job: Job, happening: Callable[[], None]) -> None:
        had, read = self.has_gradients(job), deepcopy(self.expected.get(job.name, model.Direction()))
        self.store.happening = happening
        self.judge.settle(job.id)
        if self.store.happening is not None:  # nothing was read: the job had ended
            self.store.happening = None
            happening()
        # One that changes nothing and knows none of its pairs has no race to lose: it holds for the direction that it
        # has read.
        is_folded = job.update and any(map(model.is_usable, job.asked.gradients))
        own = {tag for tag, number in zip(job.asked.tags, job.asked.numbers, strict=True) if number is not None}
        is_recalled = (job.update or job.asked.once) and not own.isdisjoint({tag for tag, _ in read.pairs})
        self.expect_decision(job, had, None if is_folded or is_recalled else read)

    @rule(job=jobs)
    def cancel(self, job: Job) -> None:
        if job.status in ("open", "cancelled"):
            assert self.call(self.service.cancel(job.id)).status == "cancelled"
            job.status = "cancelled"
        elif job.kept:
            assert self.call(self.service.cancel(job.id)).status == "succeeded"
            job.kept = False
        else:
            with pytest.raises(Conflict):
                self.call(self.service.cancel(job.id))

    @rule(name=st.sampled_from(NAMES))
    def reset(self, name: str) -> None:
        if self.expected.pop(name, None) is None:
            with pytest.raises(NotFound):
                self.call(self.directions.reset(name))
        else:
            self.call(self.directions.reset(name))

    @rule(target=exports, name=st.sampled_from(NAMES))
    def export(self, name: str) -> Any:
        if name not in self.expected:
            with pytest.raises(NotFound):
                self.call(self.directions.export(name))
            return multiple()
        return self.call(self.directions.export(name)), self.expected[name].copy()

    @rule(name=st.sampled_from(NAMES), exported=exports)
    def import_(self, name: str, exported: tuple[bytes, model.Direction]) -> None:
        content, state = exported
        _, replaced = self.call(self.directions.replace(name, content, {SERVED.fingerprint: DIM}, most=256))
        assert replaced == (name in self.expected)
        self.expected[name] = state.copy()

    @rule(target=jobs, job=jobs, retain=st.booleans())
    def rescore(self, job: Job, retain: bool) -> Any:
        """Asks for another scoring of a retained job; it waits for its decision as all do."""
        request = wire.RescoreRequest(retain=retain)
        if job.source is not None or job.status != "succeeded" or not job.kept:
            with pytest.raises(Conflict):
                self.call(self.service.create_rescoring(job.id, request, None))
            return multiple()
        accepted = self.call(self.service.create_rescoring(job.id, request, None))
        again = Job(accepted.job_id, job.name, job.asked, update=False, retain=retain, source=job)
        self.all.append(again)
        return again

    # What should have come of it.

    def has_gradients(self, job: Job) -> bool:
        return job.source is None or job.source.kept

    def expect_decision(self, job: Job, had_gradients: bool, read: model.Direction | None = None) -> None:
        """Does to the model what a delivered decision should have done, and compares the answer.

        :param read: the direction that it was decided against; None for what there is now.
        """
        found = self.call(self.service.get(job.id))
        if job.status != "open":
            # Another question may have dropped its gradients since.
            assert job.answer is None or found == job.answer.model_copy(update={"retained": found.retained})
            return
        job.answer = found
        life = (job.source or job).life
        direction = read or self.expected.get(job.name, model.Direction())
        if not had_gradients or (job.source is not None and life is not None and life != direction.life):
            assert found.status == "failed"
            assert found.error.status == 409
            job.status = "failed"
            return
        asked = job.asked
        if job.update:
            model.fold(direction, asked, HALF_LIFE)
        repeated = self.repeated(job, direction)
        shares = model.shares(direction, asked, job.update, HALF_LIFE)
        scores = model.score(direction, asked.gradients, asked.tags, shares)
        if asked.stakes and job.update:
            model.remember(direction, asked, scores)
            note(direction, job.id, found.result.decisions)
            self.expected[job.name] = direction
            job.life = direction.life
        job.status = "succeeded"
        job.kept = job.retain and job.source is None
        if job.source is not None and not job.retain:
            job.source.kept = False
        assert_answer(found.result, direction, scores)
        assert [decision.repeated for decision in found.result.decisions] == repeated

    def repeated(self, job: Job, direction: model.Direction) -> list[bool]:
        """What is said of a job's samples; of one that is scored again, what was said when it was folded in."""
        asked = job.asked
        if asked.stakes or (asked.repeated and job.update):
            return asked.repeated
        known = zip(asked.tags, asked.numbers, map(model.is_usable, asked.gradients), strict=True)
        return [asked.once and usable and (tag, number) in direction.pairs for tag, number, usable in known]

    @invariant()
    def directions_are_as_expected(self) -> None:
        listed = {row.name: row for row in self.call(self.directions.summaries())}
        assert listed.keys() == self.expected.keys()
        for name, direction in self.expected.items():
            shown = self.call(self.directions.get(name))
            assert listed[name].version == shown.version == direction.version
            assert list(shown.languages) == sorted(direction.languages)
            held = cast("dict[bytes, bytes]", self.store.redis.hgetall(keys.direction(name)))
            assert self.epochs.setdefault(direction.life, held[b"epoch"]) == held[b"epoch"]
            assert_held(held, shown, direction)
        assert len(set(self.epochs.values())) == len(self.epochs)

    @invariant()
    def histories_have_each_commit_once(self) -> None:
        for name in NAMES:
            if (direction := self.expected.get(name)) is None:
                assert self.store.redis.exists(keys.history(name), keys.conflicts(name)) == 0
                continue
            history = json.loads(self.call(self.directions.history(name, HISTORY)))
            assert [(entry["version"], entry["job_id"]) for entry in history] == direction.commits
            shown = self.call(self.directions.conflicts(name)).languages
            counts = {(tag, None): of.dropped for tag, of in shown.items() if of.dropped}
            counts |= {(tag, other): n for tag, of in shown.items() for other, n in of.conflicts_with.items()}
            assert counts == direction.conflicts

    @invariant()
    def only_open_and_retained_jobs_have_anything_beside_their_record(self) -> None:
        ids = cast("list[bytes]", self.store.redis.zrange(keys.JOBS_ACTIVE, 0, -1))
        active = {job_id.decode() for job_id in ids}
        assert active == {job.id for job in self.all if job.status == "open"}
        beside = self.store.redis.scan_iter("congrad:job:*:*", count=10_000)
        rest = {key.decode().split(":")[2] for key in beside if b":doing:" not in key}  # says who is at it, for seconds
        assert rest == {job.id for job in self.all if job.source is None and (job.status == "open" or job.kept)}

    @invariant()
    def everything_of_a_job_expires(self) -> None:
        for key in self.store.redis.scan_iter("congrad:job:*", count=10_000):
            assert self.store.redis.ttl(key) != NEVER, key


def note(direction: model.Direction, job_id: str, decisions: list[wire.Decision]) -> None:
    """Writes a commit down, with the conflicts that its answer tells of."""
    direction.commits.append((direction.version, job_id))
    for one in decisions:
        if one.repeated:
            continue
        if one.conflict_score is not None and not one.keep:
            direction.conflicts[one.language, None] += 1
            direction.conflicts.update((one.language, other) for other in one.conflicts_with)


def assert_answer(result: wire.FilterResult, direction: model.Direction, scores: list[float | str]) -> None:
    """An answer is the model's."""
    assert result.direction.version == direction.version
    assert result.direction.languages == {tag: own.samples for tag, own in direction.languages.items()}
    for decision, expected in zip(result.decisions, scores, strict=True):
        if isinstance(expected, str):
            assert (decision.conflict_score, decision.reason) == (None, expected)
            assert decision.keep == (expected == "no_direction")
        else:
            assert decision.reason is None
            assert decision.conflict_score == pytest.approx(expected, abs=1e-4)
            assert decision.keep == (decision.conflict_score is not None and decision.conflict_score <= 0)


def assert_held(held: dict[bytes, bytes], shown: wire.Direction, direction: model.Direction) -> None:
    """The vectors, the counts and the geometry are the model's."""
    means = direction.means()
    lengths = np.linalg.norm(means, axis=1)
    for tag, length in zip(sorted(direction.languages), lengths, strict=True):
        own, about = direction.languages[tag], shown.languages[tag]
        total = np.frombuffer(held[f"sum:{tag}".encode()], "<f4")
        assert np.allclose(total, own.total, rtol=1e-4, atol=1e-4 * np.abs(own.total).max())
        assert np.allclose(np.frombuffer(held[f"recent:{tag}".encode()], "<f4"), own.recent, atol=1e-4)
        assert about.samples == own.samples
        assert about.weight == pytest.approx(own.weight)
        assert about.norm == pytest.approx(length, rel=1e-4)
    cosines = means @ means.T / np.outer(lengths, lengths)
    assert np.allclose(shown.cosines_before, cosines, atol=1e-4)
    whole, _ = explicit_pcgrad(means)
    assert shown.norm == pytest.approx(float(np.linalg.norm(whole)), rel=1e-3, abs=1e-4 * float(lengths.max()))


def test_directions_are_those_of_the_model_whatever_happens_in_whatever_order() -> None:
    run_state_machine_as_test(
        DirectionMachine,
        settings=examples(20, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]),
    )
