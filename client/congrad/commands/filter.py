"""`congrad filter`: a file of samples through a running service."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import typer

from congrad.client import Client
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.columns import FieldColumns, OfVerdicts, RoleNames, RowsAre, fields_of
from congrad.commands.filtering.journal import Journal, open_journal
from congrad.commands.filtering.losses import about_loss, check_loss, served_with
from congrad.commands.filtering.options import (
    BadRowsAre,
    BatchSize,
    CheckpointName,
    Concurrency,
    DirectionName,
    Dropped,
    DryRun,
    GivenFormat,
    In,
    KeepShare,
    Kept,
    LanguageColumn,
    LanguageOfAll,
    MaxConflict,
    OfBadRows,
    ReportPage,
    Restart,
    RetainedJobs,
    Scores,
    SelectionKind,
    ShareOf,
    Timeout,
    TwoPass,
    Update,
)
from congrad.commands.filtering.outputs import Outputs
from congrad.commands.filtering.selection import selection_of
from congrad.commands.filtering.stack import Adapter, Model, own_stack, settings_of
from congrad.commands.filtering.standing import check_direction, direction_of, rows_under_way
from congrad.commands.filtering.telling.endings import without_answers, without_outputs
from congrad.commands.filtering.telling.notices import notices, of_direction
from congrad.commands.filtering.telling.reporting import about_run, notes_on
from congrad.commands.filtering.telling.summary import print_summary, show_plan, show_summary
from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect, is_given
from congrad.commands.terminal.output import WRONG, fail, fail_with, out, say
from congrad.commands.terminal.signals import interrupt_on_signals
from congrad.errors import APIStatusError, CongradError, NoRoomError
from congrad.files.bad_rows import BadRowsError
from congrad.files.formats import Format
from congrad.files.kinds.rows import FileError
from congrad.files.recognition import recognised_in
from congrad.files.samples import Survey, survey
from congrad.files.sources import files_of, opened
from congrad.formats.fields import Fields
from congrad.formats.registry import AUTO
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.protocol.options import BATCH_SIZE, CONCURRENCY
from congrad.protocol.policy import Timeouts
from congrad.protocol.room import mib
from congrad.showing.progress import progress_bar, row_counter

HELP = """Filters files of preference pairs or of completions through a running service, or with [bold]--model[/] \
through one that is brought up for it.

What the rows are is told by their fields, and said first: TRL's pairs ([bold]chosen[/], [bold]rejected[/] and, unless \
both begin with it, [bold]prompt[/]) and completions, the formats of OpenAI, ms-swift, LLaMA-Factory, Axolotl and \
Argilla, transcripts, and two answers with a verdict. Languages are tags, FLORES or ISO codes, or English names, in \
[bold]language[/] or a column like it. Kept rows leave as they came. Files are converted where the suffixes \
of IN and KEPT differ. Completions with a label are for the loss [bold]kto[/], and those alone for [bold]sft[/]: \
[bold]--model[/] serves it by itself, and a service is started with it (CONGRAD_LOSS=kto congrad up --model PATH). \
Parquet needs pyarrow: pip install 'congrad-filter\\[parquet]'.

All rows are folded into the direction before the first one is scored, unless [bold]--one-pass[/]. A run that was \
cut short, or failed, goes on where it stopped when the same command is given again: until KEPT is written, the \
answers so far are in KEPT.congrad, and rows that have one are not sent again, wherever they stand by then. Rows \
that the direction knows already, from this file or another, count once. A direction that the command begins has no \
half-life: all rows of a file count alike.

[bold]Examples[/]
  congrad filter pairs.jsonl.gz -o kept.jsonl.gz --model PATH
  congrad filter pairs.parquet -o kept.parquet --dropped dropped.parquet
  congrad filter 'data/*.jsonl' -o kept.jsonl --dry-run
  congrad filter pairs.jsonl -o kept.jsonl --keep 0.6 --within language
  congrad filter pairs.jsonl -o kept.jsonl --report report.html
  congrad filter raw.csv -o kept.jsonl --field chosen=better --field prompt=input.text --language-field tongue
  generate | congrad filter - -o - | train
"""
EXIT_CODES = (
    "[bold]Exit status[/]: 0 done; 1 the work failed, or the service is not there; 2 an argument, a file or a setting "
    "is wrong; 130 interrupted. After 1 and 130 the same command goes on where it stopped."
)


@dataclass(frozen=True)
class Service:
    """Where the answers come from, and how many are waited for at once."""

    url: str
    api_key: str | None
    timeout: float
    concurrency: int
    checkpoint: Mapping[str, str] = field(default_factory=dict)
    """Settings of a stack that is brought up for the run; empty where there is a service."""

    @property
    def stack(self) -> str:
        """What stands for the address of a stack of the run's own; empty where there is none."""
        return " ".join(f"{name}={value}" for name, value in self.checkpoint.items())


@dataclass(frozen=True)
class Order:
    """What the command was told to do, put together from its options."""

    sources: list[str]
    format: Format | None
    fields: Fields
    rows_are: str
    asked: Asked
    outputs: Outputs
    service: Service
    restart: bool
    as_json: bool
    drop_bad: bool
    is_dry: bool

    @property
    def is_spoken(self) -> bool:
        """Whether standard error is for words: beside rows on standard output it has the summary as JSON."""
        return not (self.as_json and self.outputs.has_standard_output)


def filter_file(
    context: typer.Context,
    source: In,
    output: Kept,
    dropped: Dropped = None,
    scores: Scores = None,
    report: ReportPage = None,
    retain: RetainedJobs = None,
    input_format: GivenFormat = None,
    output_format: GivenFormat = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    restart: Restart = False,
    bad_rows: OfBadRows = BadRowsAre.REFUSED,
    rows_are: RowsAre = AUTO,
    field: FieldColumns = None,
    role: RoleNames = None,
    verdict: OfVerdicts = None,
    language_field: LanguageColumn = None,
    language: LanguageOfAll = None,
    selection: SelectionKind = None,
    max_conflict: MaxConflict = None,
    keep: KeepShare = None,
    within: ShareOf = None,
    direction: DirectionName = "default",
    update: Update = True,
    two_pass: TwoPass = None,
    checkpoint: CheckpointName = None,
    url: Url = DEFAULT_BASE_URL,
    model: Model = None,
    adapter: Adapter = None,
    api_key: ApiKey = None,
    batch_size: BatchSize = BATCH_SIZE,
    concurrency: Concurrency = CONCURRENCY,
    timeout: Timeout = Timeouts.total,
) -> None:
    """Filters a file of preference pairs or of completions through a running service."""
    selected = selection_of(selection, max_conflict, keep, within)
    if two_pass and not update:
        raise typer.BadParameter("--two-pass folds all rows in, and --no-update does not")
    if model is not None and is_given(context, "url"):
        raise typer.BadParameter("--url is a service that is there, and --model brings one up: give one of them")
    # What is not folded in has only one direction to be scored against.
    two_pass = update if two_pass is None else two_pass
    order = Order(
        sources=source,
        format=input_format,
        fields=fields_of(field, language_field, language, role, verdict),
        rows_are=rows_are,
        asked=Asked(direction, update, selected, checkpoint, batch_size, two_pass, retain is not None),
        outputs=Outputs(output, dropped, scores, report, retain, output_format),
        service=Service(url, api_key, timeout, concurrency, settings_of(model, adapter)),
        restart=restart,
        as_json=as_json,
        drop_bad=bad_rows is BadRowsAre.DROPPED,
        is_dry=dry_run,
    )
    _carry_out(order)


def _carry_out(order: Order) -> None:
    try:
        (_plan if order.is_dry else _filter)(order)
    except BadRowsError as error:
        way = "" if error.are_all else "; --bad-rows drop goes on without them"
        fail(f"{error}\nnothing was sent{way}", WRONG)
    except FileError as error:
        fail(str(error), WRONG)
    except CongradError as error:
        fail_with(error)


def _plan(order: Order) -> None:
    with _read(order) as (_, found):
        if order.service.checkpoint:
            served_with(order.service.checkpoint, found)  # ends the command where the run would end
        show_plan(found, order.asked.batch_size, order.as_json)


def _filter(order: Order) -> None:
    """The journal is removed when all outputs are written; whatever goes wrong before leaves it behind."""
    service, outputs = order.service, order.outputs
    if not service.checkpoint:
        connect(service.url, service.api_key).close()  # an address that is none is told of before a long file is read
    with _read(order) as (run, found):
        with _reached(order, run) as (client, journal):
            _free(client, journal)
            run.check(journal)
            _answer(run, client, journal, order)
            decisions = run.decisions(journal)
            about = None if outputs.report is None else about_run(run, journal, client)
            notes = notes_on(client, run.asked.direction, found.languages)
            with without_outputs(outputs.journal), row_counter("writing", in_lines=order.is_spoken) as count:
                outputs.write(run.source, run.fields, found, decisions, about, run.retained(journal), count)
        if order.as_json:
            print_summary(decisions, journal.direction, notes, beside_rows=outputs.has_standard_output)
        else:
            show_summary(decisions, journal.direction, notes, outputs.report)


@contextmanager
def _reached(order: Order, run: Run) -> Iterator[tuple[Client, Journal]]:
    """A client of the service, or of a stack that runs as long as this command does; and the answers so far."""
    service, path = order.service, order.outputs.journal
    if not service.checkpoint:
        with (
            connect(service.url, service.api_key, timeout=service.timeout) as client,
            open_journal(path, run.asked.on_record(client.base_url), order.restart) as journal,
        ):
            yield client, journal
        return
    # The journal first: whoever has it has the data of the stack too.
    with (
        open_journal(path, run.asked.on_record(service.stack), order.restart) as journal,
        own_stack(served_with(service.checkpoint, run.found), path, journal) as stack,
        connect(stack.url, stack.environment.get("CONGRAD_API_KEY"), timeout=service.timeout) as client,
    ):
        yield client, journal


@contextmanager
def _read(order: Order) -> Iterator[tuple[Run, Survey]]:
    """The file, read once to its end: what cannot be read, sent or written is found before anything is sent.

    :raises FileError: one of them.
    """
    paths = files_of(order.sources, order.format)
    order.outputs.check(paths, order.sources)
    with opened(paths, order.format, order.fields.by_column) as rows:
        recognised = recognised_in(rows, order.fields, order.rows_are)
        _tell(recognised.told, order)
        fields = recognised.fields
        trial = order.outputs.trial(rows)
        with row_counter("reading", in_lines=order.is_spoken) as count:
            found = survey(rows, fields, trial, drop_bad=order.drop_bad, with_digests=not order.is_dry, count=count)
        told = [*notices(found), *(() if order.is_dry else order.outputs.notices(rows, order.sources))]
        for notice in told if order.is_spoken else ():
            say(notice)
        # A service that is there is asked what it has, and a line is said where that will not do.
        if (order.is_dry or order.service.checkpoint) and (loss := about_loss(found, bool(order.service.checkpoint))):
            _tell(loss, order)
        yield Run(rows, fields, order.asked, found), found


def _tell(what: str, order: Order) -> None:
    """Says what the rows are. Standard output is for results: rows, or the plan of a dry run."""
    if what and order.is_dry and not order.as_json:
        out.print(what, markup=False, highlight=False, soft_wrap=True)
    elif what and order.is_spoken:
        say(what)


def _answer(run: Run, client: Client, journal: Journal, order: Order) -> None:
    """Gets all answers that the journal does not have, or ends the command and says how it can go on."""
    interrupt_on_signals()
    rows, answered = run.found.rows, run.answered(journal)
    if answered:
        say(f"resuming: {answered} of {rows} rows have decisions")
    if not run.asked.update:
        check_direction(client, run.asked.direction, "--no-update begins none")
    passes = 2 if run.asked.two_pass else 1
    with (
        without_answers(run, journal, order.outputs.journal, ends_with_run=bool(order.service.checkpoint)),
        progress_bar(rows, None, passes, in_lines=order.is_spoken) as advance,
    ):
        check_loss(client, run.asked.checkpoint, run.found)
        _begin(run, client, journal, order)
        if run.asked.two_pass and answered < rows:
            needed = _room_for(client, rows - answered, run.asked.checkpoint)
            if order.is_spoken:
                say(needed)
        run.ask(client, journal, order.service.concurrency, advance)
        if run.asked.two_pass:
            run.ask_again(client, journal, order.service.concurrency, advance)


def _begin(run: Run, client: Client, journal: Journal, order: Order) -> None:
    """Looks at what is there before the first row is sent, and says what matters of it."""
    direction = direction_of(client, run.asked.direction)
    is_new = not journal.rows and not journal.begins
    if run.asked.update and direction is None and not journal.rows:
        journal.begin()
    if not order.is_spoken:
        return
    for notice in of_direction(direction, run.found.languages, is_new=is_new and run.asked.update):
        say(notice)
    # Of a run that goes on they are its own, perhaps.
    if is_new and not journal.is_of_use and (others := rows_under_way(client)):
        say(f"the service is still at {others} rows of other requests")


def _free(client: Client, journal: Journal) -> None:
    """Frees the gradients of a run that is not gone on with: they would take up room for a day."""
    with suppress(CongradError):
        for job_id in journal.abandoned:
            with suppress(APIStatusError):  # a job that keeps none
                client.jobs.cancel(job_id)


def _room_for(client: Client, rows: int, checkpoint: str | None) -> str:
    """What the gradients of so many rows will take up, in words; ends the command where there is no room for them."""
    try:
        needed = client.check_room(rows, checkpoint)
    except NoRoomError as error:
        fail(
            f"{error}\nnothing was sent; with --one-pass, and after it the same command with --no-update, each row is "
            "scored against all of them too, and its gradient computed twice",
            WRONG,
        )
    if not needed:
        return "two passes: what they take up in Redis is known when a worker is there"
    return f"two passes: up to {mib(needed)} of Redis, {needed / rows / 1024:.1f} KiB a row, until the rows are scored"
