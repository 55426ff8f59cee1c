"""Errors of the workers.

WorkerError
├── CheckpointError     the model or adapter cannot be served: said in one line when the worker starts
└── SampleErrors        samples of a job cannot be encoded: the job fails with 422 and names them
"""

from collections.abc import Sequence


class WorkerError(Exception):
    """Base of the errors below."""


class CheckpointError(WorkerError):
    """The checkpoint cannot be served; the message says which file or setting is at fault."""


class SampleErrors(WorkerError):
    """Samples that cannot be encoded: their positions in the chunk, and what is wrong with each."""

    def __init__(self, errors: Sequence[tuple[int, str]]):
        super().__init__(errors[0][1])
        self.errors = list(errors)
