"""docs/operations.md says of every setting what the classes say that read it."""

import pytest
from pydantic_settings import BaseSettings

from scripts.settings_table import CLASSES, PAGE, TABLE, rendered


@pytest.mark.parametrize("settings", CLASSES.values(), ids=CLASSES)
def test_every_setting_says_what_it_is(settings: type[BaseSettings]) -> None:
    silent = [name for name, field in settings.model_fields.items() if not field.description]
    assert silent == []


def test_the_tables_of_settings_are_the_present_ones() -> None:
    """`python scripts/settings_table.py` writes them."""
    page = PAGE.read_text(encoding="utf-8")
    assert {found[1] for found in TABLE.finditer(page)} == CLASSES.keys()
    assert rendered(page) == page


def test_the_tables_have_every_setting_with_its_default_and_bounds() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in (
        "| `CONGRAD_MODEL` | needed |  |",
        "| `CONGRAD_MAX_QUEUE` | `256` | integer, ≥ 1 |",
        "| `CONGRAD_LABEL_SMOOTHING` | `0` | number, ≥ 0, < 0.5 |",
        "| `CONGRAD_PROJECTION` | `kronecker` | `kronecker`, `flora`, `exact` |",
        "| `CONGRAD_UNIT_GRADIENTS` | `true` | `true`, `false` |",
        "| `CONGRAD_LD_ALPHA` |  | number, ≥ 0, ≤ 1 |",
    ):
        assert row in page
