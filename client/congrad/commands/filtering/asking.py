"""Asking the service about the rows of a file, from where the journal ends."""

import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from congrad.client import Client
from congrad.commands.filtering.journal import Journal
from congrad.commands.filtering.retained import Retained
from congrad.commands.filtering.selection import Selection
from congrad.commands.filtering.standing import direction_of
from congrad.contract import wire
from congrad.errors import APIStatusError, CongradError
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields, Survey
from congrad.files.source import Source
from congrad.protocol.ahead import ahead, until_failure
from congrad.protocol.results import Selecting
from congrad.showing.passes import Passes

GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class GradientsGoneError(CongradError):
    """What was folded in cannot be scored again: the service keeps gradients for `CONGRAD_JOB_TTL` seconds, a day by
    default, and drops them sooner when they have been scored; and a Redis that lost its data has none.

    :param has_rows: whether the direction still has what this run has folded in.
    """

    def __init__(self, message: str, has_rows: bool):
        super().__init__(message)
        self.has_rows = has_rows


@dataclass(frozen=True)
class Asked:
    """What is asked about all rows."""

    direction: str
    update: bool
    selection: Selection
    checkpoint: str | None
    batch_size: int
    two_pass: bool
    retain: bool = False

    @property
    def selecting(self) -> Selecting:
        """The selection, which may be one of the whole file."""
        return Selecting(self.selection)

    def on_record(self, url: str) -> dict[str, Any]:
        """What the answers depend on, as it goes into a journal."""
        selection = None if self.selecting.is_of_the_whole else self.selection.model_dump()
        record = asdict(self) | {"url": url, "selection": selection}
        if not self.retain:  # as before there was a choice: unfinished runs of an earlier release go on
            del record["retain"]
        return record


@dataclass(frozen=True)
class Run:
    """A file, what is in it, and what is asked about its rows."""

    source: Source
    fields: Fields
    asked: Asked
    found: Survey

    def check(self, journal: Journal) -> None:
        """
        :raises FileError: the journal has answers, and none for a row of this file; or rows have been added since it
            was scored.
        """
        if journal.rows and not self.answered(journal):
            raise FileError(
                f"{self.source.name}: has none of the rows that an unfinished run has answers for; begin anew with "
                "--restart"
            )
        if journal.rescored and self.answered(journal) < self.found.rows:
            raise FileError(
                f"{self.source.name}: has rows that were added after an unfinished run had begun to score the others "
                "against all of them; finish it without them, or begin anew with --restart"
            )

    def answered(self, journal: Journal) -> int:
        """How many rows of the file have an answer."""
        return (journal.answered & Counter(digest for _, digest in self.found.samples)).total()

    def ask(self, client: Client, journal: Journal, concurrency: int, advance: Passes) -> None:
        """Puts all answers into the journal, those to requests that were under way when one failed included.

        :param advance: told how many rows have been answered.
        :raises CongradError: the service did not answer.
        """
        advance.had(self.answered(journal))
        journal.sends()
        digests = dict(self.found.samples)
        results = client.filter_batches(
            self._unanswered(journal),
            direction=self.asked.direction,
            update=self.asked.update,
            selection=self.asked.selecting.of_requests,
            checkpoint=self.asked.checkpoint,
            retain=self.asked.two_pass or self.asked.retain,
            half_life=math.inf if journal.begins else None,  # all rows of a file count alike
            # As if all that have an answer came first: what is sent after them is cut alike each time.
            start=journal.rows,
            batch_size=self.asked.batch_size,
            concurrency=concurrency,
            idempotency_key=journal.key,
        )
        for result in results:
            journal.add(result, [digests[decision.id] for decision in result.decisions])
            advance(len(result.decisions), result.timing)

    def ask_again(self, client: Client, journal: Journal, concurrency: int, advance: Passes) -> None:
        """Puts all second answers into the journal: scores against the direction that all rows have been folded into.

        :raises GradientsGoneError: it can no longer be done.
        :raises CongradError: the service did not answer.
        """
        left = [result.job_id for result in journal.results if result.job_id not in journal.rescored]
        advance.again()
        advance.had(sum(len(again.decisions) for again in journal.rescored.values()))
        failures: list[CongradError] = []

        def rescore(job_id: str, _: threading.Event) -> wire.FilterResult:
            return client.jobs.rescore(
                job_id,
                selection=self.asked.selecting.of_requests,
                retain=self.asked.retain,
                idempotency_key=journal.key,
            )

        with closing(ahead(until_failure(left, failures), rescore, concurrency)) as answers:
            for job_id, again in answers:
                if isinstance(again, CongradError):
                    failures.append(again)
                else:
                    journal.add_rescored(job_id, again)
                    advance(len(again.decisions))
        for failure in failures:
            if isinstance(failure, APIStatusError) and failure.status in GONE:
                raise GradientsGoneError(str(failure), self._has_rows(client, journal)) from failure
            raise failure

    def _has_rows(self, client: Client, journal: Journal) -> bool:
        """Whether the direction has as many samples as it had for any answer, and as were folded in for all of them: it
        may have been reset, or lost with its Redis, and begun anew by the requests that came then."""
        direction = direction_of(client, self.asked.direction)
        if direction is None:
            return False
        has = sum(language.samples for language in direction.languages.values())
        had = max(sum(result.direction.languages.values()) for result in journal.results)
        # What was decided at first is not held beside a second answer, which says the same of what was repeated.
        latest = [journal.rescored.get(result.job_id, result) for result in journal.results]
        folded = sum(_is_folded(decision) for result in latest for decision in result.decisions)
        return has >= max(had, folded)

    def decisions(self, journal: Journal) -> list[wire.Decision]:
        """What is decided about each row, once everything is answered."""
        decisions = journal.decisions(self.found.samples, rescored=self.asked.two_pass)
        return self.found.bad.among(self.asked.selecting.apply(decisions))

    def retained(self, journal: Journal) -> list[Retained]:
        """The jobs whose gradients are kept, with the names of their rows as they are in the file now."""
        return journal.retained(self.found.samples) if self.asked.retain else []

    def _unanswered(self, journal: Journal) -> Iterator[dict[str, Any]]:
        """The samples that have no answer yet."""
        answered = journal.answered
        samples = iter(self.found.samples)
        for position, row in enumerate(self.source.all_rows(self.fields.wanted)):
            if position in self.found.bad.found:
                continue
            _, digest = next(samples)
            if answered[digest]:
                answered[digest] -= 1
            else:
                yield self.fields.sample(row)


def _is_folded(decision: wire.Decision) -> bool:
    """Whether its sample certainly moved the direction when it was decided."""
    return not decision.repeated and decision.reason in (None, "no_direction")
