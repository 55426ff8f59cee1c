"""A checkpoint is published to gradients workers, and pairs are filtered against it.

A worker serves one checkpoint, and a direction belongs to one: each round has workers on its checkpoint and a direction
of its own. Without ``publish`` the loop runs a stack itself, only while it filters, so that a GPU is free for sampling
and training. With it, that command does what a cluster needs, and workers have the loss ``lp`` and the settings' β,
length penalty and maximum length. Old workers may go on for as long as they like.
"""

import hashlib
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from congrad import Client
from congrad.contract import wire
from congrad.errors import CongradError
from congrad.local.stack import StackOptions, running_stack
from pydantic import BaseModel, TypeAdapter

from .judging import Pair
from .settings import Settings

RESULT_TTL_S = 86_400
"""How long a filter request that is repeated is the same one: a run may be resumed the next morning."""

VISIBILITY_TIMEOUT_S = 120
"""A resumed run waits for so long if the killed one's workers had taken a task along."""

POLL_S = 1.0


class Filtered(BaseModel):
    """A decision for each pair, in their order, and the direction that came of them."""

    decisions: list[wire.Decision]
    direction: wire.Direction


class PublishingError(CongradError):
    """The service does not serve what was published."""


def filter_pairs(
    pairs: Sequence[Pair], checkpoint: str, earlier: Collection[str], folder: Path, settings: Settings
) -> Filtered:
    """Filters pairs by a direction of their own.

    The direction's name is also the idempotency key, and both come from the pairs: a run that was killed before it had
    the answer asks again, and the pairs are counted once.

    :param earlier: the fingerprints of the checkpoints of earlier rounds.
    :param folder: where the loop's own stack keeps its data.
    :raises PublishingError: see there.
    """
    content = TypeAdapter(list[Pair]).dump_json(list(pairs))
    name = f"self-rewarding-{hashlib.sha256(content).hexdigest()[:16]}"
    with _serving(checkpoint, folder, settings) as client:
        served = _await_checkpoint(client, earlier, settings)
        result = client.filter(
            [pair.model_dump() for pair in pairs],
            direction=name,
            selection=settings.selection,
            checkpoint=served.fingerprint,
            two_pass=True,
            idempotency_key=name,
        )
        return Filtered(decisions=result.decisions, direction=client.directions.get(name))


@contextmanager
def _serving(checkpoint: str, folder: Path, settings: Settings) -> Iterator[Client]:
    """A client of a service whose workers have the checkpoint."""
    if settings.publish:
        subprocess.run([*settings.publish, checkpoint], check=True)
        with Client(settings.url) as client:
            yield client
        return
    environment = {
        "CONGRAD_MODEL": checkpoint,
        "CONGRAD_LOSS": "lp",
        "CONGRAD_BETA": str(settings.beta),
        "CONGRAD_LENGTH_PENALTY": str(settings.length_penalty),
        "CONGRAD_MAX_LENGTH": str(settings.max_length),
        "CONGRAD_RESULT_TTL": str(RESULT_TTL_S),
        "CONGRAD_VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT_S),
    }
    folder.mkdir(exist_ok=True)
    options = StackOptions(folder, 0, workers=settings.workers, environment=environment, log=folder / "stack.log")
    with running_stack(options) as stack, Client(stack.url, stack.environment.get("CONGRAD_API_KEY")) as client:
        yield client


def _await_checkpoint(client: Client, earlier: Collection[str], settings: Settings) -> wire.Checkpoint:
    """The one checkpoint that is served and was not in earlier rounds. Its workers may still be loading it.

    :raises PublishingError: there is none in time, or more than one, or it is served with another loss.
    """
    deadline = time.monotonic() + settings.publish_timeout
    while not (fresh := [served for served in client.checkpoints() if served.fingerprint not in earlier]):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    if len(fresh) != 1:
        raise PublishingError(f"the service has {len(fresh)} checkpoints that no earlier round had; publish one")
    (served,) = fresh
    if (served.loss, served.beta, served.max_length) != ("lp", settings.beta, settings.max_length):
        raise PublishingError(
            f"the workers compute the loss {served.loss!r} with beta {served.beta} up to {served.max_length} tokens; "
            f"training: 'lp', {settings.beta}, {settings.max_length}"
        )
    return served
