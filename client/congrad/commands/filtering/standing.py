"""Whether there is a direction to score against."""

from congrad.client import Client
from congrad.commands.terminal.output import WRONG, fail
from congrad.errors import NotFoundError


def check_direction(client: Client, name: str, begins_none: str) -> None:
    """Ends the command where there is nothing to compare with: all rows would be kept.

    :param begins_none: why this command does not begin one.
    """
    if not exists(client, name):
        known = ", ".join(row.name for row in client.directions.list()) or "none"
        fail(f"there is no direction {name!r} to score against (there are: {known}); {begins_none}", WRONG)


def exists(client: Client, name: str) -> bool:
    """Whether there is one of that name."""
    try:
        client.directions.get(name)
    except NotFoundError:
        return False
    return True
