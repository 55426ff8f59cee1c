"""What a report says of the run of `congrad filter` that made its decisions, and of the direction they are against."""

import re
import shlex
from collections.abc import Collection
from pathlib import Path, PurePath

from congrad.client import Client
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.journal import Journal
from congrad.commands.filtering.selection import Within
from congrad.commands.terminal.output import explained, say
from congrad.contract import wire
from congrad.errors import CongradError
from congrad.files.formats import format_of
from congrad.files.source import Source
from congrad.formats.fields import Fields
from congrad.formats.kinds.trl import TRL
from congrad.protocol.options import BATCH_SIZE
from congrad.report.about import About, Setting, in_words


def about_run(run: Run, journal: Journal, client: Client) -> About:
    """A run that has all its answers. A service that has gone since costs the report a picture, and not the run."""
    state = checkpoint = None
    try:
        state, checkpoint = measured(client, run.asked.direction)
    except CongradError as error:
        say(f"congrad: the report has no cosines between languages: {explained(error)}")
    return About(
        source=Path(run.source.name).name,
        scored_against=journal.direction,
        state=state,
        checkpoint=checkpoint,
        selection=run.asked.selection,
        command=_command(run),
        settings=_settings(run.asked),
    )


NAMED = 20
"""Inputs that a command is shown with."""

OWN_WORDS = {"a", "is", "it", "no", "of", "or", "the", "to"}
"""Of notes."""


def notes_on(client: Client, direction: str, languages: Collection[str]) -> list[str]:
    """What there is to say of a direction's languages, as far as the file has them; nothing where the service has gone
    since.

    :param languages: those of the file.
    """
    try:
        found = client.directions.get(direction)
    except CongradError:
        return []
    return [note for note in found.notes if not (named := _tags_in(note, found)) or named & set(languages)]


def _tags_in(note: str, direction: wire.Direction) -> set[str]:
    """The languages of a direction that a note names; none where there are more than it names. Some of its own words
    are tags as well: they are none here where nothing else in the note is one."""
    named = {word for word in re.findall(r"[\w-]+", note) if word in direction.languages}
    return set() if " more" in note or named <= OWN_WORDS else named


def measured(client: Client, name: str) -> tuple[wire.Direction, wire.Checkpoint | None]:
    """A direction as it is now, and the checkpoint that it belongs to, if it is still served.

    :raises CongradError: the service has no answer.
    """
    state = client.directions.get(name)
    served = {checkpoint.fingerprint: checkpoint for checkpoint in client.checkpoints()}
    return state, served.get(state.fingerprint)


def _settings(asked: Asked) -> list[Setting]:
    folded = "folded into the direction" if asked.update else "scored against the direction as it stood"
    passes = "; scored once all of them were in" if asked.two_pass else ""
    return [
        ("Kept", in_words(asked.selection)),
        ("Pairs", f"{folded}{passes}"),
        ("Pairs in a request", str(asked.batch_size)),
    ]


def _command(run: Run) -> str:
    """What decides the result, without where the service is or where files lie."""
    asked = run.asked
    words = ["congrad", "filter", *_inputs(run.source), "-o", "kept.jsonl"]
    words += ["--bad-rows", "drop"] if run.found.bad.are_dropped else []
    words += [*_of_columns(run.fields), *_of_selection(asked.selection)]
    words += ["--direction", asked.direction]
    words += [] if asked.checkpoint is None else ["--checkpoint", asked.checkpoint]
    words += [] if asked.update else ["--no-update"]
    words += ["--one-pass"] if asked.update and not asked.two_pass else []
    words += [] if asked.batch_size == BATCH_SIZE else ["--batch-size", str(asked.batch_size)]
    return shlex.join(words)


def _inputs(source: Source) -> list[str]:
    """The files, without their folders, and what they are where their names do not say it."""
    names = [PurePath(path).name for path in source.paths]
    told = names if len(names) <= NAMED else [*names[:NAMED], "..."]
    said = all(format_of(path) is source.by_suffix for path in source.paths)
    return told if said else [*told, "--input-format", source.by_suffix]


def _of_columns(fields: Fields) -> list[str]:
    columns = [word for name, column in fields.columns.items() for word in ("--field", f"{name}={column}")]
    columns += [word for name, role in fields.roles.items() for word in ("--role", f"{role}={name}")]
    columns += [] if fields.format is TRL else ["--format", fields.format.name]
    columns += [] if fields.verdict is None else ["--verdict", str(fields.verdict)]
    return columns if fields.language is None else [*columns, "--language", fields.language]


def _of_selection(selection: wire.Selection) -> list[str]:
    if isinstance(selection, wire.FractionSelection):
        return ["--keep", f"{selection.keep:g}", "--within", Within.of(selection)]
    return ["--max-conflict", f"{selection.max_conflict:g}"]
