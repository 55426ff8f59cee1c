"""Asking the service about the rows of a file, from where the journal ends."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any

from congrad.client import Client
from congrad.commands.filtering.journal import Chain, Journal, digest_of
from congrad.commands.filtering.selection import Selection
from congrad.contract import wire
from congrad.errors import APIStatusError, CongradError
from congrad.files.bad_rows import BadRows
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields
from congrad.files.source import Source
from congrad.protocol.ahead import ahead
from congrad.protocol.results import Selecting

GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class GradientsGoneError(CongradError):
    """What was folded in cannot be scored again: the service keeps gradients for `CONGRAD_JOB_TTL` seconds, a day by
    default, and drops them sooner when they have been scored."""


@dataclass(frozen=True)
class Asked:
    """What is asked about all rows."""

    direction: str
    update: bool
    selection: Selection
    checkpoint: str | None
    batch_size: int
    two_pass: bool

    @property
    def selecting(self) -> Selecting:
        """The selection, which may be one of the whole file."""
        return Selecting(self.selection)

    def on_record(self, url: str) -> dict[str, Any]:
        """What the answers depend on, as it goes into a journal."""
        selection = None if self.selecting.is_of_the_whole else self.selection.model_dump()
        return asdict(self) | {"url": url, "selection": selection}


@dataclass(frozen=True)
class Run:
    """A file, and what is asked about its rows."""

    source: Source
    fields: Fields
    asked: Asked
    bad: BadRows = field(default_factory=BadRows)
    """Rows of the file that are no samples."""

    def samples(self) -> Iterator[dict[str, Any]]:
        """The samples of all rows that are some."""
        rows = enumerate(self.source.all_rows(self.fields.wanted))
        return (self.fields.sample(row) for position, row in rows if position not in self.bad.found)

    def check(self, journal: Journal) -> None:
        """:raises FileError: the journal answers other rows than the first ones of the file."""
        if digest_of(islice(self.samples(), journal.rows)) != journal.digest:
            raise FileError(
                f"{self.source.name}: its first {journal.rows} rows are not those that an unfinished run has "
                "answers for; begin anew with --restart"
            )

    def ask(self, client: Client, journal: Journal, concurrency: int, advance: Callable[[int], None]) -> None:
        """Puts all answers into the journal.

        :param advance: told how many rows have been answered.
        :raises CongradError: the service did not answer.
        """
        advance(journal.rows)
        digests: deque[str] = deque()  # of the samples that have been sent and not been answered
        results = client.filter_batches(
            self._noted(journal, digests),
            direction=self.asked.direction,
            update=self.asked.update,
            selection=self.asked.selecting.of_requests,
            checkpoint=self.asked.checkpoint,
            retain=self.asked.two_pass,
            start=journal.rows,
            batch_size=self.asked.batch_size,
            concurrency=concurrency,
            idempotency_key=journal.key,
        )
        # Samples are taken ahead of their answers, and answered in their order.
        for result in results:
            answered = [digests.popleft() for _ in result.decisions]
            journal.add(result, answered[-1])
            advance(len(result.decisions))

    def ask_again(self, client: Client, journal: Journal, concurrency: int, advance: Callable[[int], None]) -> None:
        """Puts all second answers into the journal: scores against the direction that all rows have been folded into.

        :raises GradientsGoneError: it can no longer be done.
        :raises CongradError: the service did not answer.
        """
        advance(sum(len(result.decisions) for result in journal.rescored))

        def rescore(result: wire.FilterResult, _: threading.Event) -> wire.FilterResult:
            return client.jobs.rescore(
                result.job_id, selection=self.asked.selecting.of_requests, idempotency_key=journal.key
            )

        with closing(ahead(journal.results[len(journal.rescored) :], rescore, concurrency)) as answers:
            for _, again in answers:
                if isinstance(again, APIStatusError) and again.status in GONE:
                    raise GradientsGoneError(str(again)) from again
                if isinstance(again, CongradError):
                    raise again
                journal.add_rescored(again)
                advance(len(again.decisions))

    def decisions(self, journal: Journal) -> list[wire.Decision]:
        """What is decided about each row, once everything is answered."""
        results = journal.rescored if self.asked.two_pass else journal.results
        decisions = self.asked.selecting.apply([decision for result in results for decision in result.decisions])
        return self.bad.among(decisions)

    def _noted(self, journal: Journal, digests: deque[str]) -> Iterator[dict[str, Any]]:
        """The samples that have no answer yet."""
        chain = Chain(journal.digest)
        for sample in islice(self.samples(), journal.rows, None):
            digests.append(chain.add(sample))
            yield sample
