"""`congrad token`: a new bearer token for a service."""

from typing import Annotated

import typer
from pydantic import ValidationError

from congrad.commands.terminal.options import AsJson
from congrad.commands.terminal.output import WRONG, fail, print_json, say
from congrad.contract.tokens import Role, TokenEntry, digest, new_token


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the service calls it, for instance who uses it.")],
    role: Annotated[Role, typer.Option(help="What it may do; filter includes read, and admin both.")],
    team: Annotated[
        str | None, typer.Option(metavar="TEAM", help="Whose directions and jobs it sees; those of nobody if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Makes a bearer token, and the table that lets it in.

    The table is for the file that the service's CONGRAD_API_KEYS_FILE names, and holds a digest only. The token itself
    is printed this once, on standard error, and kept nowhere.

    [bold]Example[/]
      congrad token ci --role filter --team nlp >> tokens.toml
    """
    secret = new_token()
    try:
        entry = TokenEntry(name=name, role=role, team=team, sha256=digest(secret.encode()))
    except ValidationError as error:
        fault = error.errors()[0]
        fail(f"{fault['loc'][0]}: {fault['msg']}", WRONG)
    if as_json:
        print_json({"token": secret, "entry": entry})
        return
    print(f"{entry.toml()}\n")
    say(f"the token, which is shown this once:\n{secret}")
