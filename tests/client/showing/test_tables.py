"""Tables for a terminal."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from congrad.contract import wire
from congrad.showing.tables import checkpoints_table, directions_table, failed_table
from rich.console import Console, RenderableType

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


def printed(table: RenderableType, width: int) -> str:
    console = Console(width=width, file=StringIO())
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def shown(one: wire.Checkpoint) -> str:
    return printed(checkpoints_table([one]), 200)


def publication(status: str, stage: wire.Stage | None = None, **others: Any) -> wire.Publication:
    workers = [] if stage is None else [wire.Loading(worker="w", stage=stage, since=NOW)]
    known = {"id": "0" * 32, "replaces": "f00d", "created": NOW, "workers": workers}
    return wire.Publication(status=wire.PublicationStatus(status), **known | others)


def test_workers_that_sleep_are_counted_beside_those_that_serve() -> None:
    assert "2, 1 asleep" in shown(checkpoint(asleep=1))
    assert "asleep" not in shown(checkpoint())


def test_a_checkpoint_that_nobody_serves_now_is_shown_with_when_it_was_served_last() -> None:
    assert "0, seen 2026-01-01 00:00" in shown(checkpoint(workers=0, devices=[], seen=NOW))
    assert "seen" not in shown(checkpoint(seen=NOW))


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


def test_what_other_commands_ask_for_is_whole_on_a_narrow_terminal_and_in_a_pipe() -> None:
    """Where there is no terminal, tables have 80 columns: an id or a fingerprint that is cut is of no use."""
    name = "Llama-3-8B-Instruct-sft-round-2+my-adapter-round-3"
    lost = wire.Problem(title="t", status=500, detail="a [chunk] was given up")
    known: dict[str, Any] = {"status": wire.JobStatus.FAILED, "direction": "default", "checkpoint": name}
    known |= {"samples": 1, "created": NOW, "ended": NOW, "progress": wire.Progress(done=0, total=1)}
    known |= {"kept": None, "dropped": None, "timing": None, "error": lost, "retained": False}
    again = wire.JobSummary(id="1" * 32, starts=5, can_be_retried=True, retried=None, **known)
    retried = wire.JobSummary(id="2" * 32, starts=None, can_be_retried=False, retried="3" * 32, **known)
    told = printed(failed_table([again, retried]), 80)
    assert "…" not in told
    assert all(one in told for one in ("1" * 32, "2" * 32, "3" * 32, lost.detail, "can be tried again"))
    assert all(one in told for one in ("1 pair, started 5 times", "ended 2026-01-01 00:00"))

    on_its_way = publication("loading", name=name)
    served = checkpoint(name=name, fingerprint="0123456789abcdef", loss="sigmoid+sft", publication=on_its_way)
    told = printed(checkpoints_table([served]), 80)
    assert "…" not in told
    assert "0123456789abcdef" in told

    direction = wire.DirectionSummary(name="policy-round-2-of-ten", version=1, checkpoint=name, languages={"de": 1})
    assert "…" not in printed(directions_table([direction]), 80)
