"""CONGRAD: which preference pairs, or which completions, pull a multilingual model where its other languages are hurt.

with congrad.Client() as client:
    result = client.filter([{"language": "de", "prompt": "…", "chosen": "…", "rejected": "…"}, …])
kept = [decision.id for decision in result.decisions if decision.keep]
"""

from congrad.async_client import AsyncClient
from congrad.client import Client
from congrad.directions import AsyncDirections, Directions
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
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnprocessableError,
)
from congrad.jobs import AsyncJobs, Jobs
from congrad.policy import Timeouts
from congrad.requests import SampleLike, SelectionLike
from congrad.results import Filtered, OnUnavailable
from congrad.samples import Message, PromptCompletion, Sample
from congrad.selection import select
from congrad.wire import (
    Checkpoint,
    Decision,
    Direction,
    DirectionLanguage,
    DirectionRef,
    DirectionSummary,
    FilterResult,
    FractionSelection,
    Job,
    JobStatus,
    LanguageSummary,
    Problem,
    ProblemError,
    Progress,
    Projection,
    Reason,
    Summary,
    ThresholdSelection,
    Timing,
)

__all__ = [
    "APIConnectionError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncDirections",
    "AsyncJobs",
    "AuthenticationError",
    "BadRequestError",
    "Checkpoint",
    "Client",
    "ConflictError",
    "CongradError",
    "ContentTooLargeError",
    "Decision",
    "Direction",
    "DirectionLanguage",
    "DirectionRef",
    "DirectionSummary",
    "Directions",
    "FilterResult",
    "Filtered",
    "FractionSelection",
    "InvalidSampleError",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobNotFinishedError",
    "JobStatus",
    "Jobs",
    "LanguageSummary",
    "Message",
    "NotFoundError",
    "OnUnavailable",
    "PermissionDeniedError",
    "Problem",
    "ProblemError",
    "Progress",
    "Projection",
    "PromptCompletion",
    "RateLimitError",
    "Reason",
    "Sample",
    "SampleLike",
    "SelectionLike",
    "ServerError",
    "Summary",
    "ThresholdSelection",
    "Timeouts",
    "Timing",
    "UnprocessableError",
    "select",
]
