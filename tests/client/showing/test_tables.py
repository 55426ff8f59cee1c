"""Tables for a terminal."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from congrad.contract import wire
from congrad.showing.tables import checkpoints_table
from rich.console import Console

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def checkpoint(**changes: Any) -> wire.Checkpoint:
    known: dict[str, Any] = {
        "name": "policy",
        "fingerprint": "f00d",
        "loss": "sigmoid",
        "beta": 0.1,
        "reference": "policy",
        "projection": wire.Projection(kind="exact", rank=None, dim=64, seed=0),
        "target_modules": None,
        "modules": 4,
        "coverage": 1.0,
        "shared_prompts": True,
        "max_length": 512,
        "dtype": "float32",
        "devices": ["cpu"],
        "workers": 2,
    }
    return wire.Checkpoint(**known | changes)


def shown(one: wire.Checkpoint) -> str:
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(checkpoints_table([one]))
    return captured.get()


def publication(status: str, stage: wire.Stage | None = None, **others: Any) -> wire.Publication:
    workers = [] if stage is None else [wire.Loading(worker="w", stage=stage, since=NOW)]
    known = {"id": "0" * 32, "replaces": "f00d", "created": NOW, "workers": workers}
    return wire.Publication(status=wire.PublicationStatus(status), **known | others)


def test_workers_that_sleep_are_counted_beside_those_that_serve() -> None:
    assert "2, 1 asleep" in shown(checkpoint(asleep=1))
    assert "asleep" not in shown(checkpoint())


@pytest.mark.parametrize(
    ("on_its_way", "words"),
    [
        (publication("waiting"), "what was published: waiting"),
        (publication("loading", "verifying", name="policy+next"), "policy+next: verifying"),
        (publication("failed", name="next", error="it is [no] adapter"), "next: failed: it is [no] adapter"),
    ],
)
def test_what_takes_the_place_of_a_checkpoint_is_shown_with_how_far_it_is(
    on_its_way: wire.Publication, words: str
) -> None:
    assert words in shown(checkpoint(publication=on_its_way))
    assert "in its place" not in shown(checkpoint())
