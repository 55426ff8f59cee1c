"""`congrad direction`: the running directions of a service."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import FAILED, WRONG, fail, fail_with, out, print_json, say
from congrad.contract import wire
from congrad.errors import CongradError
from congrad.files.formats import STANDARD_STREAM
from congrad.files.kinds.rows import FileError
from congrad.files.streams import STANDARD_OUTPUT, descriptor_of
from congrad.files.target import check_writable, replacing
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.showing.tables import cosines_table, directions_table, languages_table

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the direction.")]

app = typer.Typer(help="Lists, shows, resets, exports and imports the running directions.", no_args_is_help=True)


@app.command("list")
def list_directions(url: Url = DEFAULT_BASE_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Lists the directions with their versions and counts."""
    try:
        with connect(url, api_key) as client:
            directions = client.directions.list()
    except CongradError as error:
        fail_with(error)
    if as_json:
        print_json({"directions": directions})
    else:
        out.print(directions_table(directions))


@app.command()
def show(name: Name = "default", url: Url = DEFAULT_BASE_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Shows the languages of a direction, and the cosines between them before and after surgery."""
    try:
        with connect(url, api_key) as client:
            direction = client.directions.get(name)
    except CongradError as error:
        fail_with(error)
    _print(direction, as_json)


@app.command()
def reset(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Forgets a direction. The next rows that are folded in start a new one under its name."""
    if not yes:
        if not sys.stdin.isatty():
            fail("nobody can be asked whether to forget the direction; say so with --yes", WRONG)
        if not typer.confirm(f"Forget direction {name!r} and all that was folded into it?", err=True):
            fail("nothing was done", FAILED)
    try:
        with connect(url, api_key) as client:
            client.directions.reset(name)
    except CongradError as error:
        fail_with(error)
    if as_json:
        print_json({"name": name, "reset": True})
    else:
        say(f"direction {name!r} is forgotten")


@app.command("export")
def export_state(
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where the state goes, as safetensors; - is standard output."
        ),
    ],
    name: Name = "default",
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Writes the whole state of a direction, vectors included, to a file."""
    try:
        check_writable(output)
        with connect(url, api_key) as client:
            state = client.directions.export(name)
        with replacing(output) as file:
            file.write(state)
    except FileError as error:
        fail(str(error), WRONG)
    except CongradError as error:
        fail_with(error)
    if as_json:
        stream = sys.stderr if descriptor_of(output) == STANDARD_OUTPUT else sys.stdout
        print_json({"name": name, "file": output, "bytes": len(state)}, stream)
    else:
        say(f"direction {name!r}: {len(state)} bytes in {output}")


@app.command("import")
def import_state(
    name: Name,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A state that was exported; - is standard input.")],
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Makes a direction of an exported state. One that has the name is replaced."""
    try:
        state = sys.stdin.buffer.read() if file == STANDARD_STREAM else Path(file).read_bytes()
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", WRONG)
    try:
        with connect(url, api_key) as client:
            direction = client.directions.import_(name, state)
    except CongradError as error:
        fail_with(error)
    _print(direction, as_json)


def _print(direction: wire.Direction, as_json: bool) -> None:
    if as_json:
        print_json(direction)
        return
    out.print(
        f"{direction.name}, version {direction.version}, of {direction.checkpoint!r}; half-life "
        f"{direction.half_life or 'inf'}; norm {direction.norm:.4g}; updated {direction.updated:%Y-%m-%d %H:%M:%S %Z}",
        markup=False,
        soft_wrap=True,
    )
    out.print(languages_table(direction))
    for note in direction.notes:
        out.print(note, markup=False, soft_wrap=True)
    tags = list(direction.languages)
    if len(tags) > 1:
        out.print("Cosines between the gradients of languages, before surgery")
        out.print(cosines_table(tags, direction.cosines_before), soft_wrap=True)
        out.print("Cosines of gradients after surgery (rows) with those before (columns)")
        out.print(cosines_table(tags, direction.cosines_after), soft_wrap=True)
