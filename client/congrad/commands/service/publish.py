"""`congrad publish`: the next round's checkpoint, onto the workers that run."""

from pathlib import Path
from typing import Annotated

import typer

from congrad.checkpoints import LOADING_S
from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import WRONG, fail, fail_with, print_json, say
from congrad.errors import CongradError
from congrad.protocol.base_client import DEFAULT_BASE_URL


def publish(
    adapter: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder or hub name of a PEFT adapter.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Folder or hub name of a model; without one the base stays that the workers have in memory.",
            show_default=False,
        ),
    ] = None,
    replaces: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Name or fingerprint of what it takes the place of, where workers serve several checkpoints.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait until it is served.", min=0.1)
    ] = LOADING_S,
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Has the workers serve another checkpoint, without a restart, and waits until they do.

    They do what waits for the old one first. Where the new one cannot be served, the old one still is. The operator of
    the service says with CONGRAD_MODELS what may be loaded. On standard output is the new fingerprint, which requests
    can name as their checkpoint.

    [bold]Example[/]
      congrad publish --adapter /models/round-2/adapter
    """
    if adapter is None and model is None:
        fail("say what to publish: --adapter PATH, --model PATH, or both", WRONG)
    try:
        with connect(url, api_key) as client:
            served = client.checkpoints.publish(
                model=_whole(model), adapter=_whole(adapter), replaces=replaces, timeout=timeout
            )
    except CongradError as error:
        fail_with(error)
    if as_json:
        print_json(served)
        return
    say(f"{served.name} is served by {served.workers} worker{'' if served.workers == 1 else 's'}")
    typer.echo(served.fingerprint)


def _whole(source: str | None) -> str | None:
    """A folder from the root on, where there is one of this name here; the service is told what it cannot know."""
    if source is None:
        return None
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # the home of a user whom nobody knows here
        return source
    return str(path.absolute()) if path.is_dir() else source
