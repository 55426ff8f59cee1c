"""`congrad rescore`: another question about rows whose gradients are kept."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer

from congrad.commands.filtering.options import SCORING, SELECTION, Concurrency, KeepShare, MaxConflict, ShareOf, Timeout
from congrad.commands.filtering.retained import Retained, read_retained
from congrad.commands.filtering.selection import selection_of
from congrad.commands.filtering.standing import check_direction
from congrad.commands.filtering.telling.summary import print_summary, show_summary
from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import WRONG, fail, fail_with, say
from congrad.commands.terminal.signals import interrupt_on_signals
from congrad.contract import wire
from congrad.contract.tags.languages import normalise_language
from congrad.errors import CongradError
from congrad.files.decisions import misnamed
from congrad.files.kinds.rows import FileError
from congrad.files.kinds.values import encode
from congrad.files.source import same_file
from congrad.files.target import check_writable, replacing
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.protocol.options import CONCURRENCY
from congrad.protocol.policy import Timeouts
from congrad.protocol.results import Filtered

HELP = """Asks again about rows that were filtered with [bold]congrad filter --retain JOBS[/]: another threshold, \
aggregator, half-life or direction, or some of the languages only. No gradient is computed, and no GPU needed.

Without options it is the question of the first run: against the direction of the rows as it stands now. What is kept \
is decided anew by --max-conflict or --keep. With --half-life a direction is made anew of the rows alone.

[bold]Examples[/]
  congrad filter pairs.jsonl -o kept.jsonl --retain jobs.jsonl
  congrad rescore jobs.jsonl -o scores.jsonl --aggregator agreement
  congrad rescore jobs.jsonl -o scores.jsonl --languages de,fr,pl --keep 0.6
  congrad rescore jobs.jsonl -o scores.jsonl --half-life inf
  congrad report scores.jsonl --samples pairs.jsonl -o report.html
"""


Jobs = Annotated[
    str, typer.Argument(metavar="JOBS", help="What congrad filter --retain has written.", show_default=False)
]
Decisions = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="SCORES", help="Where the decision on every row goes, as JSON Lines; - is a pipe."
    ),
]
Another = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=SCORING, help="Another direction to score against.")
]
Aggregator = Annotated[
    str | None,
    typer.Option(metavar="NAME", rich_help_panel=SCORING, help="Another than the direction's, such as agreement."),
]
HalfLife = Annotated[
    str | None,
    typer.Option(
        metavar="SAMPLES",
        rich_help_panel=SCORING,
        help="In a direction that is made anew of these rows; inf: all count alike. With --direction it stays.",
    ),
]
Heard = Annotated[
    str | None,
    typer.Option(metavar="TAGS", rich_help_panel=SELECTION, help="The languages that are heard, such as de,fr."),
]
Free = Annotated[bool, typer.Option("--free", help="Do not keep the gradients any longer.")]


def rescore_file(
    jobs: Jobs,
    output: Decisions,
    as_json: AsJson = False,
    max_conflict: MaxConflict = None,
    keep: KeepShare = None,
    within: ShareOf = None,
    direction: Another = None,
    aggregator: Aggregator = None,
    half_life: HalfLife = None,
    languages: Heard = None,
    free: Free = False,
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    concurrency: Concurrency = CONCURRENCY,
    timeout: Timeout = Timeouts.total,
) -> None:
    """Asks again about rows whose gradients are kept."""
    selection = selection_of(None, max_conflict, keep, within)
    samples = _half_life(half_life)
    heard = languages.split(",") if languages else []
    try:
        retained = read_retained(jobs)
        check_writable(output)
        if same_file(jobs, output):
            raise FileError(f"{output}: is the input; it would be overwritten")
        if (told := misnamed(output)) is not None:
            say(told)
        interrupt_on_signals()
        with connect(url, api_key, timeout=timeout) as client:
            if direction is not None and samples is None:
                check_direction(client, direction, "with --half-life it would be made of these rows")
            found = client.rescore(
                [one.job for one in retained],
                selection=selection,
                aggregator=aggregator,
                languages=heard or None,
                direction=direction,
                half_life=samples,
                retain=not free,
                concurrency=concurrency,
            )
        decisions = _named(found, retained)
        with replacing(output) as stream:
            stream.writelines(encode(asdict(decision)) + b"\n" for decision in decisions)
    except FileError as error:
        fail(str(error), WRONG)
    except CongradError as error:
        fail_with(error)
    assert found.direction is not None
    if as_json:
        print_summary(decisions, found.direction, [], beside_rows=output == "-")
    else:
        show_summary(decisions, found.direction, [])
    if (told := _unheard(heard, found.direction)) is not None:
        say(told)


def _unheard(tags: Sequence[str], direction: wire.DirectionRef) -> str | None:
    """Of the languages that were to be heard, those that the direction has not."""
    unknown = sorted({normalise_language(tag) for tag in tags} - direction.languages.keys())
    if not unknown:
        return None
    known = ", ".join(sorted(direction.languages))
    return f"direction {direction.name!r} has no {' and no '.join(unknown)} that could be heard; it has {known}"


def _named(found: Filtered, retained: Sequence[Retained]) -> list[wire.Decision]:
    """The decisions by the names that the rows had in their file, in its order."""
    names = [name for one in retained for name in one.rows]
    if len(names) != len(found.decisions):
        raise FileError(f"there are {len(found.decisions)} decisions for {len(names)} rows; JOBS is of another run")
    return [replace(one, id=name) for one, name in zip(found.decisions, names, strict=True)]


def _half_life(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        samples = float(text)
    except ValueError:
        samples = math.nan
    if not samples >= wire.SHORTEST:
        raise typer.BadParameter(f"--half-life is {text}; it should be a number of samples above 0, or inf")
    return samples
