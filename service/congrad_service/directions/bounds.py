"""How large a direction may become. Free of HTTP: the workers look again when a job is decided."""

from collections.abc import Set


def too_many(name: str, languages: Set[str], most: int) -> str | None:
    """Why a direction may not have all of these languages; None where it may."""
    if len(languages) <= most:
        return None
    return (
        f"direction {name!r} would have {len(languages)} languages, and {most} at most; score against it with "
        "'update': false, or begin another"
    )
