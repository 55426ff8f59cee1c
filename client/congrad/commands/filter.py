"""`congrad filter`: a file of samples through a running service."""

import sys
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from congrad.client import Client
from congrad.commands.filtering.asking import Asked, GradientsGoneError, Run
from congrad.commands.filtering.columns import COLUMNS, FieldColumns, fields_of
from congrad.commands.filtering.journal import Journal, open_journal
from congrad.commands.filtering.outputs import Outputs
from congrad.commands.filtering.reporting import about_run
from congrad.commands.filtering.selection import Kind, Within, selection_of
from congrad.commands.terminal.options import SERVICE, ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import (
    FAILED,
    INTERRUPTED,
    WRONG,
    err,
    explained,
    fail,
    fail_with,
    out,
    print_json,
    say,
)
from congrad.commands.terminal.signals import interrupt_on_signals
from congrad.contract import wire
from congrad.contract.summary import summarise
from congrad.errors import APIStatusError, CongradError, NotFoundError
from congrad.files.formats import Format
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Survey, survey
from congrad.files.source import Source
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.protocol.options import BATCH_SIZE, CONCURRENCY
from congrad.protocol.policy import Timeouts
from congrad.report.about import About
from congrad.showing.progress import progress_bar
from congrad.showing.tables import counts_table, summary_table

SELECTION = "Selection"
SCORING = "Scoring"
OUTPUT = "Output"

HELP = """Filters a file of preference pairs or of completions through a running service.

Each row is a pair: [bold]language[/], [bold]chosen[/], [bold]rejected[/] and, unless both begin with it, \
[bold]prompt[/], as text or as lists of messages; or, where the workers have the loss sft, [bold]prompt[/] and \
[bold]completion[/]. Kept rows leave as they came. Files are converted where the suffixes \
of IN and KEPT differ. Parquet needs pyarrow: pip install 'congrad\\[parquet]'.

A run that was cut short goes on where it stopped when the same command is given again: until KEPT is written, the \
answers so far are in KEPT.congrad, and within the hour nothing of it is folded into the direction twice. A run that \
has finished is another matter: given again it adds its rows once more, and they are then compared with themselves. \
Choose another [bold]--direction[/] for it.

[bold]Examples[/]
  congrad filter pairs.parquet -o kept.parquet --dropped dropped.parquet
  congrad filter pairs.jsonl -o kept.jsonl --keep 0.6 --within language
  congrad filter pairs.jsonl -o kept.jsonl --report report.html
  congrad filter raw.csv -o kept.jsonl --field chosen=better --language-field lang
  zcat pairs.jsonl.gz | congrad filter - -o - | gzip > kept.jsonl.gz
"""
EXIT_CODES = (
    "[bold]Exit status[/]: 0 done; 1 the work failed, or the service is not there; 2 an argument, a file or a setting "
    "is wrong; 130 interrupted. After 1 and 130 the same command goes on where it stopped."
)


def filter_file(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="File of rows: .jsonl, .json, .csv or .parquet; - is standard input.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="KEPT", help="Where the kept rows go, as they came; - is standard output."
        ),
    ],
    dropped: Annotated[
        str | None,
        typer.Option(metavar="DROPPED", help="Where the dropped rows go, each with its decision as congrad."),
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where the decision on every row goes, as JSON Lines.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Where a page about the run goes, with pictures and texts, as one HTML file."
        ),
    ] = None,
    input_format: Annotated[
        Format | None,
        typer.Option(show_default=False, rich_help_panel=OUTPUT, help="Instead of what the suffix says; jsonl for -."),
    ] = None,
    output_format: Annotated[
        Format | None,
        typer.Option(show_default=False, rich_help_panel=OUTPUT, help="Instead of what the suffix says; jsonl for -."),
    ] = None,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check all rows, say what would be sent, and send nothing.")
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Begin anew, where an unfinished run has left its answers; what it folded in stays in the direction.",
        ),
    ] = False,
    field: FieldColumns = None,
    language_field: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", rich_help_panel=COLUMNS, help="The column with language tags, if not language."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(metavar="TAG", rich_help_panel=COLUMNS, help="The language of all rows, such as de or pt-BR."),
    ] = None,
    selection: Annotated[
        Kind | None,
        typer.Option(
            show_default=False,
            rich_help_panel=SELECTION,
            help="Keep what is below a threshold, or a fraction; --keep says fraction too.",
        ),
    ] = None,
    max_conflict: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            metavar="X",
            show_default="0",
            rich_help_panel=SELECTION,
            help="Keep rows with a conflict score of at most X, from -1 to 1.",
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            rich_help_panel=SELECTION,
            help="Instead: keep this share, those with the lowest scores.",
        ),
    ] = None,
    within: Annotated[
        Within | None,
        typer.Option(
            show_default="language",
            rich_help_panel=SELECTION,
            help="Take the share of each language of the file, of the whole file (request), or against the language's "
            "latest scores in the direction (stream).",
        ),
    ] = None,
    direction: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=SCORING, help="The running direction to score against.")
    ] = "default",
    update: Annotated[
        bool, typer.Option("--update/--no-update", rich_help_panel=SCORING, help="Fold the rows into the direction.")
    ] = True,
    two_pass: Annotated[
        bool,
        typer.Option(
            "--two-pass",
            rich_help_panel=SCORING,
            help="First fold all rows in, then score them. Without it the first rows are scored when the direction has "
            "seen little else; this costs no second gradient.",
        ),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=SCORING, help="Where the service has workers for several."),
    ] = None,
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="ROWS", rich_help_panel=SERVICE, help="Rows in one request.")
    ] = BATCH_SIZE,
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", rich_help_panel=SERVICE, help="Requests under way at once.")
    ] = CONCURRENCY,
    timeout: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", rich_help_panel=SERVICE, help="How long to wait for one answer."),
    ] = Timeouts().total,
) -> None:
    """Filters a file of preference pairs or of completions through a running service."""
    asked = Asked(
        direction=direction,
        update=update,
        selection=selection_of(selection, max_conflict, keep, within),
        checkpoint=checkpoint,
        batch_size=batch_size,
        two_pass=two_pass,
    )
    if two_pass and not update:
        raise typer.BadParameter("--two-pass folds all rows in, and --no-update does not")
    fields = fields_of(field, language_field, language)
    outputs = Outputs(output, dropped, scores, report, output_format)
    try:
        outputs.check(source)
        with Source(source, input_format, fields.by_column) as rows:
            found = survey(rows, fields, outputs.trial(rows))
            run = Run(rows, fields, asked)
            if dry_run:
                _show_plan(run, found, as_json)
                return
            with (
                connect(url, api_key, timeout=timeout) as client,
                open_journal(outputs.journal, asked.on_record(client.base_url), restart) as journal,
            ):
                run.check(journal)
                _answer(run, client, journal, found.rows, outputs.journal, concurrency)
                decisions = run.decisions(journal)
                about = None if report is None else about_run(run, journal, client)
                _write(outputs, run, found, decisions, about)
            _show_summary(outputs, decisions, journal, as_json)
    except FileError as error:
        fail(str(error), WRONG)
    except CongradError as error:
        fail_with(error)


def _answer(run: Run, client: Client, journal: Journal, rows: int, path: Path | None, concurrency: int) -> None:
    """Gets all answers, or ends the command and says how it can go on."""
    interrupt_on_signals()
    if journal.rows:
        say(f"resuming: {journal.rows} of {rows} rows have decisions")
    if not run.asked.update:
        _check_direction(client, run.asked.direction)
    try:
        with progress_bar(rows * (2 if run.asked.two_pass else 1), None) as advance:
            run.ask(client, journal, concurrency, advance)
            if run.asked.two_pass:
                run.ask_again(client, journal, concurrency, advance)
    except FileError:
        raise
    except GradientsGoneError as error:
        fail(
            f"{error}\nall {rows} rows are in direction {run.asked.direction!r}: the same command with --no-update "
            "--restart in place of --two-pass scores them against it, their own shares included, and folds nothing in",
            FAILED,
        )
    except APIStatusError as error:
        is_row = error.status == HTTPStatus.UNPROCESSABLE_ENTITY
        mend = "\nwhere a row is at fault, correct it or take it out first" if is_row else ""
        fail(f"{explained(error)}\n{_left(journal, rows, path)}{mend}", WRONG if is_row else FAILED)
    except CongradError as error:
        fail(f"{explained(error)}\n{_left(journal, rows, path)}", FAILED)
    except KeyboardInterrupt:
        fail(f"interrupted; {_left(journal, rows, path)}", INTERRUPTED)


def _check_direction(client: Client, name: str) -> None:
    """Without an update there is nothing to compare with in a direction that does not exist: all rows would be kept."""
    try:
        client.directions.get(name)
    except NotFoundError:
        known = ", ".join(row.name for row in client.directions.list()) or "none"
        fail(f"there is no direction {name!r} to score against (there are: {known}); --no-update begins none", WRONG)


def _left(journal: Journal, rows: int, path: Path | None) -> str:
    """What a run that did not come to its end leaves behind."""
    if not journal.rows:
        return "nothing was written"
    done = f"{journal.rows} of {rows} rows have decisions"
    if path is None:
        return f"{done}, which are lost: only with -o FILE a run can go on where it stopped"
    return f"{done}, kept in {path}: the same command goes on from there"


def _write(outputs: Outputs, run: Run, found: Survey, decisions: Sequence[wire.Decision], about: About | None) -> None:
    """Writes all outputs, or ends the command and says how it can go on."""
    try:
        outputs.write(run.source, run.fields, found, decisions, about)
    except FileError as error:
        left = "the decisions are lost"
        if outputs.journal is not None:
            left = (
                f"the decisions are kept in {outputs.journal}: the same command goes on from there, also with another "
                "--output-format, such as jsonl, or another --dropped"
            )
        fail(f"{error}\n{left}", FAILED)


def _show_plan(run: Run, found: Survey, as_json: bool) -> None:
    requests = -(-found.rows // run.asked.batch_size)
    if as_json:
        languages = dict(sorted(found.languages.items()))
        print_json({"rows": found.rows, "by_language": languages, "requests": requests, "bytes": found.bytes})
        return
    out.print(counts_table("rows", found.languages))
    out.print(f"{found.rows} rows in {requests} requests, about {found.bytes / 2**20:.1f} MiB. Nothing was sent.")


def _show_summary(outputs: Outputs, decisions: Sequence[wire.Decision], journal: Journal, as_json: bool) -> None:
    reasons = Counter(str(decision.reason) for decision in decisions if decision.reason is not None)
    direction = (journal.rescored or journal.results)[-1].direction
    counts = summarise(decisions)
    if as_json:
        summary = {
            "rows": len(decisions),
            **counts.model_dump(),
            "without_score": dict(sorted(reasons.items())),
            "truncated": sum(decision.truncated for decision in decisions),
            "direction": direction,
        }
        print_json(summary, sys.stderr if outputs.has_standard_output else sys.stdout)
        return
    err.print(summary_table(counts))
    if reasons:
        say("without a score: " + ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())))
    say(f"scored against version {direction.version} of direction {direction.name!r} of {direction.checkpoint!r}")
