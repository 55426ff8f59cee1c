"""What the README says of the settings; its examples are run with those of the docs."""

from pathlib import Path

from congrad_service.settings import ServiceSettings
from congrad_worker.settings import DecideSettings, GradientSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_setting_of_the_design_is_described() -> None:
    fields = {*ServiceSettings.model_fields, *DecideSettings.model_fields, *GradientSettings.model_fields}
    internal = {"host", "port", "visibility_timeout", "chunk_tokens", "projection_rank", "projection_dim"}
    missing = [name for name in fields - internal if f"CONGRAD_{name.upper()}" not in README]
    assert missing == []
