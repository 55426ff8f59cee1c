"""Pairs are filtered by workers that have the policy: each round's is published to those that are there.

A direction belongs to one checkpoint: each round has its own. Unless ``url`` names a service, the loop has a stack of
its own, whose workers sleep while it samples and trains, so that one GPU is enough. A service elsewhere has workers of
one checkpoint, with the loss ``lp`` and the settings' β, length penalty and maximum length, and allows the loop's
folder (``CONGRAD_MODELS``), which the workers see under the same path.
"""

import hashlib
from collections.abc import Iterator, Sequence
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


class Filtered(BaseModel):
    """A decision for each pair, in their order, and the direction that came of them."""

    decisions: list[wire.Decision]
    direction: wire.Direction


def filter_pairs(pairs: Sequence[Pair], checkpoint: str, client: Client, settings: Settings) -> Filtered:
    """Filters pairs by a direction of their own, against a checkpoint.

    The direction's name is also the idempotency key, and both come from the pairs: a run that was killed before it had
    the answer asks again, and the pairs are counted once.

    :raises CongradError: the workers compute another loss than the training; or see `congrad.errors`.
    """
    content = TypeAdapter(list[Pair]).dump_json(list(pairs))
    name = f"self-rewarding-{hashlib.sha256(content).hexdigest()[:16]}"
    for there in client.checkpoints():
        if (there.loss, there.beta, there.max_length) != ("lp", settings.beta, settings.max_length):
            raise CongradError(
                f"the workers compute the loss {there.loss!r} with beta {there.beta} up to {there.max_length} tokens; "
                f"training: 'lp', {settings.beta}, {settings.max_length}"
            )
    served = client.checkpoints.publish(model=_whole(checkpoint))
    result = client.filter(
        [pair.model_dump() for pair in pairs],
        direction=name,
        selection=settings.selection,
        checkpoint=served.fingerprint,
        two_pass=True,
        idempotency_key=name,
    )
    client.workers.sleep(served.fingerprint, "discard")  # the next round's takes its place
    return Filtered(decisions=result.decisions, direction=client.directions.get(name))


@contextmanager
def serving(folder: Path, settings: Settings) -> Iterator[Client]:
    """A client of the service.

    :param folder: where the loop's own stack keeps its data, below the folder of the run.
    """
    if settings.url is not None:
        with Client(settings.url) as client:
            yield client
        return
    environment = {
        "CONGRAD_MODEL": settings.model,
        "CONGRAD_MODELS": f"{folder.parent.resolve()},{_whole(settings.model)}",
        "CONGRAD_LOSS": "lp",
        "CONGRAD_BETA": str(settings.beta),
        "CONGRAD_LENGTH_PENALTY": str(settings.length_penalty),
        "CONGRAD_MAX_LENGTH": str(settings.max_length),
        "CONGRAD_RESULT_TTL": str(RESULT_TTL_S),
    }
    folder.mkdir(exist_ok=True)
    options = StackOptions(folder, 0, workers=settings.workers, environment=environment, log=folder / "stack.log")
    with running_stack(options) as stack, Client(stack.url, stack.environment.get("CONGRAD_API_KEY")) as client:
        yield client


def _whole(checkpoint: str) -> str:
    """A folder from the root on, as workers are told it; a name on the hub as it is."""
    return str(Path(checkpoint).resolve()) if Path(checkpoint).exists() else checkpoint
