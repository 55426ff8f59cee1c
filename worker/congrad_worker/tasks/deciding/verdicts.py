"""The work of a decide task: gather a job's gradients, decide, commit. Runs without a broker, and without torch."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import compress

import numpy as np
from congrad.contract import wire
from congrad_service import keys
from congrad_service.access.teams import plain
from congrad_service.directions.bounds import too_many
from congrad_service.directions.terms import Terms
from congrad_service.http.errors import MAX_ERRORS, pointer, sample_name
from congrad_service.observability import tracing
from redis.exceptions import RedisError

from congrad_worker.decisions.decide import Outcome, Rules, decide
from congrad_worker.decisions.direction import Samples
from congrad_worker.decisions.question import Earlier, Question
from congrad_worker.decisions.rows.parts import PartedSamples
from congrad_worker.errors import ShardDamagedError, ShardGoneError, ShardStoreError, origin
from congrad_worker.tasks import metrics
from congrad_worker.tasks.deciding.directions import Directions
from congrad_worker.tasks.deciding.ruling import Refused, Ruling
from congrad_worker.tasks.deciding.steps import step_of
from congrad_worker.tasks.deciding.writing import may_be_another
from congrad_worker.tasks.patience import Abandoned, Patience, TooSlow
from congrad_worker.tasks.records import ChunkResult, JobRecord, Measured, StartedDecision
from congrad_worker.tasks.reports import belongs_to, note
from congrad_worker.tasks.states import DirectionRecord, Step
from congrad_worker.tasks.store import Store

MAX_ATTEMPTS = 5
"""Starts of one decision after which the job is given up."""

MAX_RACES = 100
"""Lost races for the direction after which a job is given up. Each one lost is another job's success."""

STORE_PATIENCE_S = 60.0
"""How long a decision may wait for a gradient store that cannot be read."""

log = logging.getLogger(__name__)


class Judge:
    """Decides jobs by one set of rules."""

    def __init__(self, store: Store, rules: Rules):
        self._store = store
        self.directions = Directions(store)
        self._ruling = Ruling(rules)

    def settle(self, job_id: str) -> None:
        """Decides the job and commits its answer. Doing it twice changes nothing: the first answer stands.

        A failure fails the job, except Redis's own and the gradient store's, which are for the queue to try again.
        """
        begun = self._store.start_decision(job_id)
        belongs_to(begun.origin)
        if not begun.attempts:
            note(outcome="repeated")
            return
        note(attempt=begun.attempts)
        try:
            self._settle(begun)
        except RedisError:
            self._store.leases.give_back()
            raise
        except ShardStoreError as error:
            if self._store.has_waited(job_id, STORE_PATIENCE_S):
                self._fail(job_id, f"{error}, for {STORE_PATIENCE_S:g} s", HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self._store.leases.give_back(memory=True)
                raise
        except Abandoned:
            note(outcome="repeated")
        except TooSlow as error:
            self._fail(job_id, str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        except Refused as error:
            self._fail(job_id, str(error), error.status)
        except Exception as error:
            log.error("job %s: decision failed: %s", job_id, origin(error))
            self._fail(job_id, f"the decision failed: {type(error).__name__}: {error}")
        finally:
            self._store.leases.has_written()
            self._store.leases.rest()

    def _settle(self, begun: StartedDecision) -> None:
        if begun.attempts > MAX_ATTEMPTS:
            self._store.uncount(begun.job_id, keys.DECIDE_WORK)
            starts = f"it was started {begun.attempts - 1} times without an end"
            self._fail(begun.job_id, f"the decision was given up: {starts}")
            return
        try:
            question, at = self._known(begun.job)
            question = question or self._read(begun.job, begun.gradients)
            if question is not None:
                note(samples=len(question.ids))
                self._answer(begun, question, at)
        except ShardGoneError:  # freed while they were read
            self._end(begun.job_id, _without_gradients(begun.job))
        except ShardDamagedError as error:
            log.error("job %s: %s", begun.job_id, error)
            self._end(begun.job_id, _with_damaged_gradients(begun.job, error))

    def _known(self, job: JobRecord) -> tuple[Question, DirectionRecord] | tuple[None, None]:
        """What a job asks, where no gradients need to be read for it: an earlier one has asked something about the same
        samples and the same version of the direction, which is the second."""
        if job.source is None or job.update or self._store.shelf is None:
            return None, None
        read = self.directions.read(job.direction)
        measured = self._store.measured(job.source, read)
        if measured is None:
            return None, None
        return replace(_question(job, [measured.chunk]), products=measured.products), read

    def _read(self, job: JobRecord, known: bytes | None = None) -> Question | None:
        """What a job asks; None where it has no answer, and has ended with that."""
        chunks = self._store.gradients(job, known)
        if chunks is None:
            # Where another delivery has ended the job meanwhile, this changes nothing.
            self._end(job.id, _without_gradients(job))
            return None
        if any(chunk.errors for chunk in chunks):
            self._end(job.id, _unprocessable(chunks))
            return None
        return _question(job, chunks)

    def _answer(self, begun: StartedDecision, question: Question, at: DirectionRecord | None) -> None:
        """:param at: the version that the question knows the products with."""
        job, patience = begun.job, Patience(self._store, begun.job_id)
        standing = None if job.update and may_be_another(self._store, job, patience) else begun.standing
        for _ in range(MAX_RACES):
            patience()
            read, standing = self.directions.read(job.direction, standing), None
            if at is not None and read.mark != at.mark:
                at, anew = None, self._read(job)
                if anew is None:
                    return
                question = anew
            rules = self._ruling.of(job, read)
            if (conflict := _conflict(job, read, question, rules)) is not None:
                raise Refused(HTTPStatus.CONFLICT, conflict)
            known = self._recalled(job, read, question)
            if known is None:
                metrics.RACES.inc()
            elif self._commit(begun, read, known, rules, patience) != "lost":
                return
        self._fail(job.id, f"direction {plain(job.direction)!r} changed {MAX_RACES} times while the job was decided")

    def _recalled(self, job: JobRecord, read: DirectionRecord, question: Question) -> Question | None:
        """The question with what its direction remembers; None where that has changed since it was read."""
        if not (question.once or question.update):
            return question  # neither asks whether its pairs are known, nor is to be known
        memory = self._store.recall(job.direction, read, question.pairs, question.samples.languages)
        return None if memory is None else replace(question, memory=memory)

    def _commit(
        self, begun: StartedDecision, read: DirectionRecord, question: Question, rules: Rules, patience: Patience
    ) -> str:
        outcome = decide(question, read.languages, rules, read.consensus, patience)
        job, now = begun.job, begun.now
        step = step_of(job, question.samples, outcome, read, rules, now)
        result = _result(job, outcome, read, step, now)
        with tracing.span("commit"):
            committed = self._store.commit(job, result, step, read)
        if committed == "committed":
            self.directions.keep(job.direction, _known(job, read, outcome, step))
            self._keep(job, read, question, outcome)
        _report(committed, result)
        return committed

    def _keep(self, job: JobRecord, read: DirectionRecord, question: Question, outcome: Outcome) -> None:
        """Keeps what the samples of a job that is scored again are to the direction, for the next question."""
        found = outcome.products
        if job.source is None or job.update or not job.retain or found is None or question.products is not None:
            return
        try:
            self._store.put_measured(job.source, read, Measured(_without_units(question), found))
        except (RedisError, ShardStoreError) as error:  # the next one reads the gradients again
            log.warning("job %s: its products are not kept: %s", job.id, type(error).__name__)

    def _fail(self, job_id: str, detail: str, status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR) -> None:
        self._end(job_id, _problem(status, detail))

    def _end(self, job_id: str, problem: wire.Problem) -> None:
        note(outcome="failed", status=problem.status)
        self._store.fail(job_id, problem)


def _known(job: JobRecord, read: DirectionRecord, outcome: Outcome, step: Step | None) -> DirectionRecord:
    """The direction after a commit."""
    if step is None:
        is_own = job.heard is None and (read.consensus is None or not job.aggregator)
        return replace(read, consensus=outcome.consensus) if is_own else read
    return DirectionRecord(
        epoch=step.fields["epoch"],
        version=step.entry.version,
        fingerprint=job.fingerprint,
        created=step.fields["created"],
        languages=outcome.languages,
        terms=Terms.of(step.fields["geometry"]),
        tables=outcome.learnt.tables,
        forgotten=step.fields["forgotten"],
        consensus=outcome.consensus,
        by=step.fields["by"],
    )


def _report(committed: str, result: wire.FilterResult) -> None:
    """Says what became of a commit."""
    match committed:
        case "committed":
            metrics.count_answer(result)
            summary, timing = result.summary, result.timing
            counts = summary.model_dump(include={"kept", "dropped", "repeated"})
            note(version=result.direction.version, **counts, **timing.model_dump())
        case "lost":
            metrics.RACES.inc()
        case "ended":
            note(outcome="repeated")


def _question(job: JobRecord, chunks: Sequence[ChunkResult]) -> Question:
    return Question(
        ids=[sample_id for chunk in chunks for sample_id in chunk.ids],
        samples=PartedSamples.joined([chunk.samples for chunk in chunks]),
        truncated=[truncated for chunk in chunks for truncated in chunk.truncated],
        selection=job.selection,
        update=job.update,
        pairs=[pair for chunk in chunks for pair in chunk.pairs or [None] * len(chunk.ids)],
        ratios=[ratio for chunk in chunks for ratio in chunk.ratios or [None] * len(chunk.ids)],
        once=job.once,
        heard=job.heard,
        earlier=None if job.standing is None else Earlier(job.standing.stakes, job.standing.repeated),
    )


def _without_units(question: Question) -> ChunkResult:
    samples = question.samples
    none = np.zeros((0, samples.dim), np.float16)
    return ChunkResult(
        ids=list(question.ids),
        samples=Samples(none, samples.norms, samples.languages),
        truncated=list(question.truncated),
        errors=[],
        pairs=list(question.pairs),
        ratios=list(question.ratios or [None] * len(question.ids)),
    )


def _result(
    job: JobRecord, outcome: Outcome, read: DirectionRecord, step: Step | None, now: float
) -> wire.FilterResult:
    return wire.FilterResult(
        job_id=job.id,
        direction=wire.DirectionRef(
            name=plain(job.direction),
            version=read.version if step is None else step.entry.version,
            checkpoint=job.checkpoint,
            languages={tag: state.samples for tag, state in sorted(outcome.languages.items())},
            forgotten=read.forgotten + outcome.learnt.given_up,
        ),
        decisions=outcome.decisions,
        summary=outcome.summary,
        timing=wire.Timing(
            queued_s=_seconds(job.created, job.started),
            gradients_s=_seconds(job.started, job.gradients_done),
            decide_s=_seconds(job.gradients_done, now),
            total_s=_seconds(job.created, now),
        ),
    )


def _seconds(begun: float, ended: float) -> float:
    """Between two times of Redis's clock, which may have been put back."""
    return round(max(ended - begun, 0.0), 6)


def _problem(status: HTTPStatus, detail: str) -> wire.Problem:
    return wire.Problem(title=status.phrase, status=status, detail=detail)


def _without_gradients(job: JobRecord) -> wire.Problem:
    if job.source is None:
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "gradients of the job are missing")
    return _problem(HTTPStatus.CONFLICT, f"the gradients of job {job.source} are no longer kept")


def _with_damaged_gradients(job: JobRecord, error: ShardDamagedError) -> wire.Problem:
    if job.source is None:
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"gradients of the job cannot be read: {error}")
    return _problem(HTTPStatus.CONFLICT, f"the gradients of job {job.source} cannot be read any more: {error}")


def _unprocessable(chunks: Sequence[ChunkResult]) -> wire.Problem:
    """Names every sample that could not be encoded by its position in the request and its id."""
    errors, first = [], 0
    for chunk in chunks:
        for index, detail in chunk.errors:
            name = sample_name(first + index, chunk.ids[index])
            path = pointer(["samples", first + index])
            errors.append(wire.ProblemError(pointer=path, detail=f"{name}: {detail}"))
        first += len(chunk.ids)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return wire.Problem(title=status.phrase, status=status, detail=errors[0].detail + more, errors=errors[:MAX_ERRORS])


def _conflict(job: JobRecord, read: DirectionRecord, question: Question, rules: Rules) -> str | None:
    """Why the job cannot be decided against the direction; None if it can be."""
    name, dim = f"direction {plain(job.direction)!r}", question.samples.dim
    if read.fingerprint not in (None, job.fingerprint):
        return (
            f"{name} belongs to checkpoint {read.fingerprint} by now, and this job's gradients were computed with "
            f"{job.fingerprint}"
        )
    # The samples may be part of what is there now, as after an import; without knowing how much, they would agree
    # with themselves.
    if job.standing is not None and job.standing.epoch != read.epoch:
        return (
            f"{name} was reset or replaced since job {job.source} was folded in; what share its samples have in the "
            "direction now is not known"
        )
    if lengths := {len(state.total) for state in read.languages.values()} - {dim}:
        held = ", ".join(map(str, sorted(lengths)))
        return f"{name} holds vectors of {held} numbers, and this job's gradients have {dim}"
    if job.update:  # others may have brought languages since this job was accepted
        languages = {*read.languages, *compress(question.samples.languages, question.samples.usable)}
        return too_many(plain(job.direction), languages, rules.max_languages)
    return None
