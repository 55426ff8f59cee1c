"""What the README says of the settings, all of which stand in docs/operations.md. Its examples run with the docs'."""

import re
from pathlib import Path

from congrad_service.settings import ServiceSettings
from congrad_worker.settings import DecideSettings, GradientSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`CONGRAD_(\w+)`", README))
CHOSEN = (
    "model adapter reference loss beta projection seed half_life aggregator max_length max_batch_tokens dtype device "
    "redis_url broker_url api_key max_samples max_queue"
)
"""What most people set sooner or later."""


def test_the_settings_that_most_people_need_are_named() -> None:
    assert sorted(name for name in CHOSEN.split() if name.upper() not in NAMED) == []


def test_no_setting_is_named_that_does_not_exist() -> None:
    existing = {*ServiceSettings.model_fields, *DecideSettings.model_fields, *GradientSettings.model_fields}
    of_the_client = {"BASE_URL"}
    assert sorted(NAMED - {name.upper() for name in existing} - of_the_client) == []


def test_links_into_a_page_lead_to_one_of_its_headings() -> None:
    """mkdocs sees to those of the docs, which the README is none of."""
    for page, anchor in re.findall(r"\]\((docs/[\w/-]+\.md)#([\w-]+)\)", README):
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, page
