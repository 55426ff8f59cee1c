"""What a worker serves when it starts: the checkpoint of its settings, or what has taken its place."""

import logging
import time
from dataclasses import dataclass

from congrad_service.queue.publication import Successor
from redis.exceptions import AuthenticationError, AuthorizationError, ClusterDownError, ConnectionError, TimeoutError

from congrad_worker.checkpoints.files import CheckpointFiles, locate
from congrad_worker.errors import CheckpointError
from congrad_worker.serving.desk import Desk
from congrad_worker.serving.late_work import Previous
from congrad_worker.serving.steward import Origin
from congrad_worker.settings import GradientSettings

PAUSE_S = 1.0
"""Between two questions to a Redis that is away, beside what its client waits by itself."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """What the worker was started on, what it serves, and what was served before that."""

    origin: Origin
    files: CheckpointFiles
    settings: GradientSettings
    previous: Previous | None = None


def beginning(desk: Desk, settings: GradientSettings) -> Beginning:
    """
    :raises CheckpointError: the settings name what cannot be served.
    """
    files = locate(settings)
    origin = Origin(files.fingerprint, settings)
    successor = _successor(desk, origin.fingerprint)
    if successor is None:
        return Beginning(origin, files, settings)
    previous = None
    if successor.previous is not None:
        previous = Previous(successor.previous.fingerprint, _settings_of(successor.previous, settings))
    if successor.fingerprint == files.fingerprint:
        return Beginning(origin, files, settings, previous)
    own = _settings_of(successor, settings)
    try:
        found = locate(own)
        if found.fingerprint != successor.fingerprint:
            raise CheckpointError(f"{found.name}: its files are no longer those that were published")
    except CheckpointError as error:
        log.warning("%s is served again: what has taken its place cannot be: %s", files.name, error)
        return Beginning(origin, files, settings)
    log.info("%s is served, which has taken the place of %s", found.name, files.name)
    return Beginning(origin, found, own, previous)


def _successor(desk: Desk, fingerprint: str) -> Successor | None:
    """What Redis says, which may be away for long. A worker that ended for it would be down for good where a supervisor
    takes its status for that of a wrong setting, which a password that is refused is."""
    while True:
        try:
            return desk.successor(fingerprint)
        except (AuthenticationError, AuthorizationError):
            raise
        except (ConnectionError, TimeoutError, ClusterDownError) as error:
            log.warning("what is to be served is not known until Redis answers: %s", error)
            time.sleep(PAUSE_S)


def _settings_of(successor: Successor, settings: GradientSettings) -> GradientSettings:
    return settings.model_copy(update={"model": successor.model, "adapter": successor.adapter})
