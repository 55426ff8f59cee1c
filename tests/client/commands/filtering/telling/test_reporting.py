"""What a run says of the direction that it has met."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from congrad import Client
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.journal import Journal
from congrad.commands.filtering.telling.reporting import about_run, notes_on
from congrad.contract import wire
from congrad.files.formats import Format
from congrad.files.samples import Fields, survey
from congrad.files.sources import opened

NOW = datetime.now(UTC)
ASKED = Asked("d", update=True, selection=wire.ThresholdSelection(), checkpoint=None, batch_size=256, two_pass=True)


@pytest.mark.parametrize(
    ("names", "as_format", "drop_bad", "said"),
    [
        (["a.jsonl"], None, False, "a.jsonl -o kept.jsonl --max-conflict 0"),
        (["a.jsonl", "b c.jsonl"], None, True, "a.jsonl 'b c.jsonl' -o kept.jsonl --bad-rows drop --max-conflict 0"),
        (["a.txt"], Format.JSONL, False, "a.txt --input-format jsonl -o kept.jsonl --max-conflict 0"),
        ([f"{i:02}.jsonl" for i in range(21)], None, False, "18.jsonl 19.jsonl ... -o kept.jsonl --max-conflict 0"),
    ],
)
def test_the_command_of_a_report_can_be_given_again(
    names: list[str], as_format: Format | None, drop_bad: bool, said: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_text('{"language": "de", "chosen": "a", "rejected": "b"}\n')
    with opened([str(tmp_path / name) for name in names], as_format, {}) as source:
        found = survey(source, Fields(), drop_bad=drop_bad)
        journal = SimpleNamespace(direction=wire.DirectionRef(name="d", version=1, checkpoint="c", languages={}))
        gone = httpx.MockTransport(lambda _: httpx.Response(404))
        with Client("http://stub", transport=gone) as client:
            about = about_run(Run(source, Fields(), ASKED, found), cast("Journal", journal), client)
    assert about.command is not None
    assert about.command.startswith(f"congrad filter {names[0]} ")
    assert about.command.endswith(f" {said} --direction d")


def test_notes_are_those_on_languages_that_the_file_has() -> None:
    one = wire.DirectionLanguage(samples=1, weight=1, norm=1.0)
    direction = wire.Direction(
        name="default", version=1, checkpoint="c", fingerprint="f", created=NOW, updated=NOW, half_life=None,
        aggregator={}, norm=1.0, languages=dict.fromkeys(("de", "fr", "ja", "no"), one), cosines_before=[],
        cosines_after=[],
        notes=[
            "the labels of de pull against most others", "no language agrees with the others",
            "the labels of de, no and 3 more pull against most others",
        ],
    )  # fmt: skip
    answer = httpx.Response(200, text=direction.model_dump_json())
    with Client("http://stub", transport=httpx.MockTransport(lambda _: answer)) as client:
        assert notes_on(client, "default", ["fr", "ja"]) == direction.notes[1:]
        assert notes_on(client, "default", ["de"]) == direction.notes
