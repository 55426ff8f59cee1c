"""Files of tokens."""

from pathlib import Path

from congrad.contract.tokens import Role, TokenEntry, digest


def write_tokens(path: Path, *tokens: tuple[str, Role, str | None]) -> Path:
    """A file of these tokens: each with its role and team, and called by itself, but for a suffix ``-secret``."""
    entries = [
        TokenEntry(name=token.removesuffix("-secret"), role=role, team=team, sha256=digest(token.encode()))
        for token, role, team in tokens
    ]
    path.write_text("\n\n".join(entry.toml() for entry in entries))
    return path


def bearer(token: str) -> dict[str, str]:
    """The header that a token is sent in."""
    return {"Authorization": f"Bearer {token}"}
