"""`congrad report`: one page about a file that was filtered."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from congrad.commands.filtering.columns import COLUMNS, FieldColumns, OfVerdicts, RoleNames, RowsAre, fields_of
from congrad.commands.filtering.telling.reporting import measured
from congrad.commands.terminal.options import SERVICE, ApiKey, Url, connect
from congrad.commands.terminal.output import WRONG, fail, fail_with, say
from congrad.errors import CongradError
from congrad.files.decisions import read_decisions, samples_of
from congrad.files.formats import STANDARD_STREAM, Format
from congrad.files.kinds.rows import FileError
from congrad.files.recognition import recognised_in
from congrad.files.source import same_file
from congrad.files.sources import files_of, opened
from congrad.files.streams import STANDARD_OUTPUT, descriptor_of
from congrad.files.target import check_writable, replacing
from congrad.formats.registry import AUTO
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.report.about import About
from congrad.report.content import Report
from congrad.report.page import misnamed_page

HELP = """Writes one page about a file that was filtered: pictures by language, the worst and the best pairs, and a \
table of all pairs with their texts. It is a single HTML file that needs no network.

[bold]congrad filter --report FILE[/] writes the same page at the end of a run, and knows more of it: the selection, \
the settings and the version of the direction.

[bold]Examples[/]
  congrad filter pairs.jsonl -o kept.jsonl --scores scores.jsonl
  congrad report scores.jsonl --samples pairs.jsonl -o report.html
  congrad report scores.jsonl --samples pairs.jsonl --direction default -o report.html
"""


def report_file(
    results: Annotated[
        str,
        typer.Argument(metavar="RESULTS", help="The decisions: what congrad filter --scores has written; - is a pipe."),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Where the page goes; - is standard output.")
    ],
    samples: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IN",
            help="What was filtered, a file, a folder or a pattern; repeat it where there were several. Without it the "
            "page has no texts.",
        ),
    ] = None,
    input_format: Annotated[
        Format | None,
        typer.Option(show_default=False, rich_help_panel=COLUMNS, help="Instead of what the suffix of IN says."),
    ] = None,
    rows_are: RowsAre = AUTO,
    field: FieldColumns = None,
    role: RoleNames = None,
    verdict: OfVerdicts = None,
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=SERVICE,
            help="The direction that was scored against: the service is asked for the cosines between its languages.",
        ),
    ] = None,
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
) -> None:
    """Writes one page about a file that was filtered."""
    fields = fields_of(field, roles=role, verdict=verdict)
    try:
        files = files_of(samples or [], input_format)
        _check_output(output, results, *files)
        if (told := misnamed_page(output)) is not None:
            say(told)
        decisions = read_decisions(results)
        with ExitStack() as stack:
            rows = stack.enter_context(opened(files, input_format, fields.by_column)) if files else None
            report = Report(_about(results if rows is None else rows.name, direction, url, api_key), decisions)
            if rows is not None:
                fields = recognised_in(rows, fields, rows_are).fields
                for position, sample in enumerate(samples_of(rows, fields, decisions)):
                    report.add(position, sample)
            report.write(stack.enter_context(replacing(output)))
    except FileError as error:
        fail(str(error), WRONG)
    except CongradError as error:
        fail_with(error)
    if descriptor_of(output) != STANDARD_OUTPUT:
        say(f"{len(decisions)} pairs in {output}")


def _check_output(output: str, *inputs: str) -> None:
    """:raises FileError: the page cannot be written, or would overwrite what it is made of."""
    check_writable(output)
    for path in inputs:
        if output != STANDARD_STREAM and same_file(path, output):
            raise FileError(f"{output}: is an input; it would be overwritten")


def _about(source: str, direction: str | None, url: str, api_key: str | None) -> About:
    """:raises CongradError: the service does not have the direction."""
    name = Path(source).name if source != STANDARD_STREAM else "standard input"
    if direction is None:
        return About(name)
    with connect(url, api_key) as client:
        state, checkpoint = measured(client, direction)
    return About(name, state=state, checkpoint=checkpoint)
