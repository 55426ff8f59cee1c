"""Bearer tokens: what one may do, whose it is, and how it stands in the service's file of tokens.

The file holds digests, and no tokens. SHA-256 alone will do for that, because tokens are drawn at random: unlike
passwords they cannot be guessed, one try after another.
"""

import hashlib
import secrets
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Role(StrEnum):
    """What a token may do; each one includes those above it."""

    READ = "read"
    """Look at jobs, directions, checkpoints, metrics and the documentation."""
    FILTER = "filter"
    """Filter, score a job again, cancel one."""
    ADMIN = "admin"
    """Reset and import directions; publish checkpoints, have workers sleep and wake."""

    def includes(self, needed: "Role") -> bool:
        """Whether this role may do what ``needed`` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


def digest(token: bytes) -> str:
    """What stands for a token in the file: its SHA-256 in lower-case hexadecimal digits."""
    return hashlib.sha256(token).hexdigest()


def new_token() -> str:
    """A random token of 256 bits, in characters that need no quoting anywhere."""
    return secrets.token_hex(32)


def _is_of_a_token(value: str) -> str:
    if value == digest(b""):
        raise ValueError("is the digest of nothing at all, not of a token")
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Of a token or of a team."""


class TokenEntry(BaseModel):
    """A ``[[token]]`` table of the file. Directions and jobs belong to the ``team``; None is those of nobody."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: Role
    team: Name | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_is_of_a_token)]

    def toml(self) -> str:
        """The table."""
        values = self.model_dump(exclude_none=True)  # none of them has a character that TOML would want escaped
        return "\n".join(["[[token]]", *(f'{field} = "{value}"' for field, value in values.items())])
