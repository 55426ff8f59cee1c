"""What is said instead of an answer, and why a job failed."""

from pydantic import Field

from congrad.contract.answer import Answer


class ProblemError(Answer):
    """One fault in a request: a JSON pointer into its body, and what is wrong there."""

    pointer: str
    detail: str


NO_LONGER_KEPT = "urn:congrad:no-longer-kept"
"""The type of a conflict: what was done under an Idempotency-Key has no answer any more, or a job no gradients."""


class Problem(Answer):
    """An RFC 9457 problem document. ``instance`` is ``/jobs/ID`` where it says why that job failed."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[ProblemError] = Field(default_factory=list)
