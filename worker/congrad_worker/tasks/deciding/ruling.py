"""By which rules a job is decided: those of its direction, of the request that begins it, or else the worker's."""

from dataclasses import replace
from http import HTTPStatus

from congrad_service.access.teams import plain
from congrad_service.directions.terms import Terms

from congrad_worker.decisions.aggregation.aggregators import OWN, TORCHJD, aggregator
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules
from congrad_worker.errors import WorkerError
from congrad_worker.tasks.records import JobRecord
from congrad_worker.tasks.states import DirectionRecord


class Refused(WorkerError):
    """A job cannot be decided as it asks, and with which status it fails."""

    def __init__(self, status: HTTPStatus, detail: str):
        super().__init__(detail)
        self.status = status


class Ruling:
    """Finds the rules of jobs.

    :param default: the worker's.
    """

    def __init__(self, default: Rules):
        self.default = default
        self._rules: dict[str, Rule] = {default.rule.name: default.rule}

    def of(self, job: JobRecord, read: DirectionRecord) -> Rules:
        """The rules of a job in a direction.

        :raises Refused: it asks for what its direction has not, or for an aggregator that is not to be had.
        """
        terms = self._terms(job, read)
        if read.terms is not None:
            conflict = terms.conflict(plain(job.direction), job.half_life, job.aggregator, job.update)
            if conflict is not None:
                raise Refused(HTTPStatus.CONFLICT, conflict)
        return replace(self.default, half_life=terms.half_life, rule=self._rule(job.aggregator or terms.aggregator))

    def _terms(self, job: JobRecord, read: DirectionRecord) -> Terms:
        """Those of a direction that there is, or that the job begins."""
        if read.terms is None:
            half_life = self.default.half_life if job.half_life is None else job.half_life
            return Terms(half_life, job.aggregator or self.default.rule.name)
        return replace(read.terms, aggregator=read.terms.aggregator or self.default.rule.name)

    def _rule(self, name: str) -> Rule:
        if name not in self._rules:
            if name not in (known := [*OWN, *TORCHJD]):
                raise Refused(
                    HTTPStatus.UNPROCESSABLE_ENTITY, f"aggregator {name!r} is unknown; known are {', '.join(known)}"
                )
            try:
                found = aggregator(name)
            except WorkerError as error:
                raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
            self._rules[name] = Rule(name, self.default.rule.seed, found)
        return self._rules[name]
