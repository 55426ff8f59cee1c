"""Errors of the workers.

WorkerError
├── CheckpointError     the model or adapter cannot be served: said in one line when the worker starts
│   └── NothingServedError  there is none in memory any more: the process ends, and another begins anew
├── DeviceLostError     the accelerator computes nothing more in this process, which ends; the work is another's
├── SampleErrors        samples of a job cannot be encoded: the job fails with 422 and names them
├── ShardGoneError      gradients that were there are no longer kept: the job fails, and says so
├── ShardDamagedError   a file of the gradient store is not as it was written: likewise
├── ShardStoreError     the gradient store cannot be reached, or refuses: the task is tried again, as without Redis
└── Unscorable          a sample has no gradient on this checkpoint: it is dropped, and says why
"""

import traceback
from collections.abc import Sequence

from congrad.contract.wire import Reason


class WorkerError(Exception):
    """Base of the errors below."""


class CheckpointError(WorkerError):
    """The checkpoint cannot be served; the message says which file or setting is at fault."""


class NothingServedError(CheckpointError):
    """The checkpoint that was served cannot be had again, and the process has nothing to serve."""


class DeviceLostError(WorkerError):
    """The accelerator computes nothing more in this process. What it was at is no error of the samples'."""


class SampleErrors(WorkerError):
    """Samples that cannot be encoded: their positions in the chunk, and what is wrong with each."""

    def __init__(self, errors: Sequence[tuple[int, str]]):
        super().__init__(errors[0][1])
        self.errors = list(errors)


class ShardGoneError(WorkerError):
    """A file of the gradient store that Redis knows of is no longer there."""


class ShardDamagedError(WorkerError):
    """A file of the gradient store is not as it was written. The message has its name within the store."""


class ShardStoreError(WorkerError):
    """The gradient store cannot be reached, or refuses. The message has no address and no key in it."""


class Unscorable(WorkerError, ValueError):
    """There is nothing that the gradient of a sample could be taken of, for this ``reason``."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


def origin(error: Exception) -> str:
    """Class and traceback of an error, for the log. Its message may quote a sample, and is for the job's owner."""
    return f"{type(error).__name__}, from\n{''.join(traceback.format_tb(error.__traceback__))}"
