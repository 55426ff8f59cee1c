"""What is there before a run: the direction, and what the service is at."""

from congrad.client import Client
from congrad.commands.terminal.output import WRONG, fail
from congrad.contract import wire
from congrad.errors import APIStatusError, NotFoundError


def check_direction(client: Client, name: str, begins_none: str) -> None:
    """Ends the command where there is nothing to compare with: all rows would be kept.

    :param begins_none: why this command does not begin one.
    """
    if direction_of(client, name) is None:
        known = ", ".join(row.name for row in client.directions.list()) or "none"
        fail(f"there is no direction {name!r} to score against (there are: {known}); {begins_none}", WRONG)


def direction_of(client: Client, name: str) -> wire.Direction | None:
    """The one of that name, if there is one."""
    try:
        return client.directions.get(name)
    except NotFoundError:
        return None


def rows_under_way(client: Client) -> int:
    """Rows of requests that the service has taken and not answered yet, of the latest jobs."""
    try:
        return sum(job.samples for job in client.jobs.list() if not job.status.ended)
    except APIStatusError:  # a service that lists none
        return 0
