"""What `congrad filter` can be told beside what other commands can be told too. Each name here is the type of one
parameter of the command, with its help; the defaults are where the command is declared."""

from enum import StrEnum
from typing import Annotated

import typer

from congrad.commands.filtering.columns import COLUMNS
from congrad.commands.filtering.selection import Kind, Within
from congrad.commands.terminal.options import SERVICE
from congrad.files.formats import Format

SELECTION = "Selection"
SCORING = "Scoring"
OUTPUT = "Output"

In = Annotated[
    list[str],
    typer.Argument(
        metavar="IN",
        help="Files of rows: .jsonl, .json, .csv, .tsv or .parquet, also with .gz, .bz2, .xz or .zst behind it; a "
        "folder or a pattern of such; s3://, gs:// or hf:// with fsspec; - is standard input.",
    ),
]
Kept = Annotated[
    str,
    typer.Option("-o", "--output", metavar="KEPT", help="Where the kept rows go, as they came; - is standard output."),
]
Dropped = Annotated[
    str | None,
    typer.Option(metavar="DROPPED", help="Where the dropped rows go, each with its decision as congrad."),
]
Scores = Annotated[
    str | None, typer.Option(metavar="FILE", help="Where the decision on every row goes, as JSON Lines.")
]
ReportPage = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Where a page about the run goes, with pictures and texts, as one HTML file."),
]
RetainedJobs = Annotated[
    str | None,
    typer.Option(
        "--retain",
        metavar="JOBS",
        help="Keep the gradients of all rows, for a day by default, and write down here which jobs have them: congrad "
        "rescore asks them another question.",
    ),
]
GivenFormat = Annotated[
    Format | None,
    typer.Option(show_default=False, rich_help_panel=OUTPUT, help="Instead of what the suffix says; jsonl for -."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read and check all rows, say what would be sent, and send nothing.")
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart",
        help="Begin anew, where an unfinished run has left its answers; what it folded in stays in the direction.",
    ),
]


class BadRowsAre(StrEnum):
    """What becomes of rows that are no samples."""

    REFUSED = "refuse"
    DROPPED = "drop"


OfBadRows = Annotated[
    BadRowsAre,
    typer.Option(
        "--bad-rows",
        help="What becomes of rows that are no samples: nothing is sent before they are mended (refuse), or they are "
        "dropped, and DROPPED says why.",
    ),
]

LanguageColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", rich_help_panel=COLUMNS, help="The column with language tags, if not language."),
]
LanguageOfAll = Annotated[
    str | None,
    typer.Option(
        metavar="TAG",
        rich_help_panel=COLUMNS,
        help="The language of all rows, such as de or pt-BR; auto detects that of each row, and needs lingua.",
    ),
]

SelectionKind = Annotated[
    Kind | None,
    typer.Option(
        show_default=False,
        rich_help_panel=SELECTION,
        help="Keep what is below a threshold, or a fraction; --keep says fraction too.",
    ),
]
MaxConflict = Annotated[
    float | None,
    typer.Option(
        min=-1,
        max=1,
        metavar="X",
        show_default="0",
        rich_help_panel=SELECTION,
        help="Keep rows with a conflict score of at most X, from -1 to 1.",
    ),
]
KeepShare = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        rich_help_panel=SELECTION,
        help="Instead: keep this share, those with the lowest scores.",
    ),
]
ShareOf = Annotated[
    Within | None,
    typer.Option(
        show_default="language",
        rich_help_panel=SELECTION,
        help="Take the share of each language of the file, of each language among pairs of like length ratio "
        "(length), of the whole file (request), or against the language's latest scores in the direction (stream).",
    ),
]

DirectionName = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=SCORING, help="The running direction to score against.")
]
Update = Annotated[
    bool, typer.Option("--update/--no-update", rich_help_panel=SCORING, help="Fold the rows into the direction.")
]
TwoPass = Annotated[
    bool | None,
    typer.Option(
        "--two-pass/--one-pass",
        show_default=False,
        rich_help_panel=SCORING,
        help="First fold all rows in, then score them (the default, unless --no-update); or score them as they come, "
        "the first ones against a direction that has seen little else. A second pass costs no second gradient, but "
        "Redis's memory, 34 KiB a row by default, until it is scored, or as much of its gradient store.",
    ),
]
CheckpointName = Annotated[
    str | None,
    typer.Option(metavar="NAME", rich_help_panel=SCORING, help="Where the service has workers for several."),
]

BatchSize = Annotated[int, typer.Option(min=1, metavar="ROWS", rich_help_panel=SERVICE, help="Rows in one request.")]
Concurrency = Annotated[
    int, typer.Option(min=1, metavar="N", rich_help_panel=SERVICE, help="Requests under way at once.")
]
Timeout = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", rich_help_panel=SERVICE, help="How long to wait for one answer.")
]
