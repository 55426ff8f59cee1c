"""The `Idempotency-Key` header: what a repeated request is known by."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A key, and the one request that it stands for; both as digests, for neither is ours to show in Redis."""

    key: str
    request: str


def claim(key: str | None, *request: str) -> Claim | None:
    """The claim of a request with this header; None without one.

    :param request: whatever must be the same for the request to be the same.
    """
    return None if key is None else Claim(_digest(key), _digest("\n".join(request)))


def retry_claim(job_id: str) -> Claim:
    """What stands for trying a job again that no key has made: twice is once."""
    # No key that a client can send has a line break.
    return Claim(_digest(f"retry\n{job_id}"), _digest(job_id))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
