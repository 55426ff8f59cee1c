"""One call that several processes make: the ranks of a training job run the same script, and each filters its dataset.

All are given the answers of one of them. So the gradients are computed once, each pair is folded in once, and all ranks
train on the same rows.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from congrad.client import Client
from congrad.contract import wire
from congrad.errors import APIConnectionError, APIStatusError, APITimeoutError, CongradError, NotFoundError
from congrad.protocol.answers.classify import is_unavailable
from congrad.protocol.options import BATCH_SIZE, FilterOptions, as_json
from congrad.protocol.requests import SampleLike, split
from congrad.protocol.results import Filtered, Selecting

KEYS = 100
"""Answers that have expired, or are from before a reset, within the day that their keys are remembered."""

ROUNDED = timedelta(milliseconds=1)
"""More than what the time of a decision loses, which is told as a time and the seconds after it."""

NOT_ASKED = ("idempotency_key", "concurrency", "progress", "on_unavailable")
"""Options that no decision depends on."""

T = TypeVar("T")

log = logging.getLogger("congrad")


def filter_shared(
    client: Client, samples: Sequence[SampleLike], options: FilterOptions, call: Callable[[str], Filtered]
) -> Filtered:
    """The answer to a call, or the one that the same call of another process was given while that is kept.

    :param samples: all of them, as what becomes of those of one request depends on the others.
    :param options: of the call.
    :param call: makes it under an idempotency key.
    :raises CongradError: as `Client.filter`.
    """
    Selecting(options.get("selection"))  # one that is none is told before anything is asked about the direction
    name, is_update = options.get("direction", "default"), options.get("update", True)
    if not isinstance(name, str):  # the service says what is wrong with it, and of a path nobody could
        return call(uuid.uuid4().hex)
    content = _content(samples)

    def asked() -> tuple[wire.Direction | None, str]:
        before = _state(client, name)
        return before, _digest(client, None if is_update else before, content, options)

    try:
        before, digest = _patiently(client, asked)
    except CongradError as error:
        if not _does_without(error, options):
            raise
        # The call does without the service too, unless it comes back. What it folds in counts once.
        return call(uuid.uuid4().hex)
    refused = 0
    # One key after the other: answers are kept for an hour, and what was done under a key is not done again for a day.
    for number in range(KEYS):
        try:
            found = call(f"{digest}/{number}")
        except APIStatusError as error:
            # Gradients of a direction that has been reset since are a conflict too, and so is what no key mends.
            refused += error.problem.type != wire.NO_LONGER_KEPT
            if error.status != HTTPStatus.CONFLICT or refused > 1:
                raise
            continue
        if not is_update or not found.job_ids:  # without jobs there is no answer, of this direction or an earlier one
            return found
        try:
            is_of_this = _patiently(client, partial(_is_of_this, client, name, before, found))
        except CongradError as error:
            if not _does_without(error, options):
                raise
            log.warning("whether the answers are of direction %r as it is now could not be asked: %s", name, error)
            return found
        if is_of_this:
            return found
    raise CongradError(f"{KEYS} calls like this one were answered within a day, and no answer is kept")


def _patiently(client: Client, ask: Callable[[], T]) -> T:
    """What is asked beside the pairs, of a service that is waited for as it is for these: once, until it is back.

    :raises CongradError: it stays away.
    """
    # One that takes connections and is silent would be waited for as long as each attempt may last, call by call.
    if client._availability.is_given_up and not client.is_ready():
        raise APIConnectionError("the service is still away")
    try:
        return ask()
    except CongradError as error:
        if not is_unavailable(error) or client._availability.is_given_up:
            raise
        try:
            client.wait_until_ready(client._policy.max_downtime)
        except APITimeoutError:
            client._availability.is_given_up = True
            raise error from None
        return ask()


def _does_without(error: CongradError, options: FilterOptions) -> bool:
    return options.get("on_unavailable", "raise") != "raise" and is_unavailable(error)


def _content(samples: Sequence[SampleLike]) -> str:
    """What stands for the samples: a fingerprint of `datasets` differs between files of the same rows, of which each
    machine of a training job may have its own."""
    digest = hashlib.sha256()
    for pairs in split(samples, BATCH_SIZE):
        digest.update(pairs.encoded)
    return digest.hexdigest()


def _digest(client: Client, against: wire.Direction | None, content: str, options: FilterOptions) -> str:
    """:param against: a direction that the call does not move: where others have, its scores are others."""
    selection = options.get("selection")
    asked = {key: value for key, value in options.items() if key not in (*NOT_ASKED, "selection")}
    asked["selection"] = None if selection is None else as_json(selection)
    asked["checkpoints"] = sorted(checkpoint.fingerprint for checkpoint in client.checkpoints())
    asked["against"] = None if against is None else [against.version, against.created.isoformat()]
    return hashlib.sha256(json.dumps([content, asked], sort_keys=True, default=str).encode()).hexdigest()


def _state(client: Client, name: str) -> wire.Direction | None:
    try:
        return client.directions.get(name)
    except NotFoundError:
        return None


def _is_of_this(client: Client, name: str, before: wire.Direction | None, found: Filtered) -> bool:
    """Whether the answers are about the direction that is there, and not an earlier one of its name.

    :param before: that which was there before the call.
    """
    after = _state(client, name)
    if after is None:  # reset since; or nothing of the call could be folded in, and it has not begun
        return found.direction is None or found.direction.version == 0
    try:
        return before is None or _decided(client.jobs.get(found.job_ids[-1])) >= after.created - ROUNDED
    except NotFoundError:
        return False


def _decided(job: wire.Job) -> datetime:
    """When that was. It may have been made before the direction was, which began with an earlier job of the call."""
    seconds = 0.0 if job.result is None else job.result.timing.total_s
    return job.created + timedelta(seconds=seconds)
