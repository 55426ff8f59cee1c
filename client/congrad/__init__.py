"""CONGRAD: which preference pairs pull a multilingual model where its other languages are hurt.

with congrad.Client() as client:
    result = client.filter([{"language": "de", "prompt": "…", "chosen": "…", "rejected": "…"}, …])
kept = [decision.id for decision in result.decisions if decision.keep]
"""

from congrad.async_client import AsyncClient
from congrad.client import Client
from congrad.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    CongradError,
    ContentTooLargeError,
    InvalidSampleError,
    JobCancelledError,
    JobFailedError,
    JobNotFinishedError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnprocessableError,
)
from congrad.policy import Timeouts
from congrad.results import Filtered
from congrad.samples import Message, Sample
from congrad.wire import (
    Checkpoint,
    Decision,
    Direction,
    DirectionSummary,
    FilterResult,
    FractionSelection,
    Job,
    JobStatus,
    Problem,
    Reason,
    ThresholdSelection,
)

__all__ = [
    "APIConnectionError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Checkpoint",
    "Client",
    "ConflictError",
    "CongradError",
    "ContentTooLargeError",
    "Decision",
    "Direction",
    "DirectionSummary",
    "FilterResult",
    "Filtered",
    "FractionSelection",
    "InvalidSampleError",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobNotFinishedError",
    "JobStatus",
    "Message",
    "NotFoundError",
    "Problem",
    "RateLimitError",
    "Reason",
    "Sample",
    "ServerError",
    "ThresholdSelection",
    "Timeouts",
    "UnprocessableError",
]
