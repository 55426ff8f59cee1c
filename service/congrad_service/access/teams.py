"""Whose a direction is. Inside, its name is qualified by its team, ``team/name``, so that one name in two teams is two
directions; without a team it is the plain name. Neither may hold a slash. A job belongs to the team of its direction.
"""


def qualified(team: str | None, name: str) -> str:
    """The name by which Redis and the workers know a direction of a team."""
    return name if team is None else f"{team}/{name}"


def team_of(name: str) -> str | None:
    """The team of a qualified name."""
    return name.rpartition("/")[0] or None


def plain(name: str) -> str:
    """A qualified name as its team knows it."""
    return name.rpartition("/")[2]
