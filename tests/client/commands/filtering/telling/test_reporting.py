"""What a run says of the direction that it has met."""

from datetime import UTC, datetime

import httpx
from congrad import Client
from congrad.commands.filtering.telling.reporting import notes_on
from congrad.contract import wire

NOW = datetime.now(UTC)


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
