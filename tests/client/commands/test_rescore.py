"""What `congrad rescore` says of its own accord; tests/e2e/test_gradient_store.py has it ask a service."""

import pytest
from congrad.commands.rescore import _unheard
from congrad.contract import wire

DIRECTION = wire.DirectionRef(name="one", version=1, checkpoint="c", languages={"de": 4, "en": 5})


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["German", "fr", "pl"], "direction 'one' has no fr and no pl that could be heard; it has de, en"),
        (["de", "eng_Latn"], None),
        ([], None),
    ],
)
def test_a_language_that_cannot_be_heard_is_told(tags: list[str], told: str | None) -> None:
    assert _unheard(tags, DIRECTION) == told
