"""docker-compose.yml, .env.example and Dockerfile are at one with the settings that the program reads."""

import re
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
import yaml  # type: ignore[import-untyped] # no stubs here
from congrad_service.__main__ import DRAIN_S
from congrad_service.settings import RedisSettings, ServiceSettings
from congrad_worker.processes.celery_app import LOAD_TIMEOUT_S, SOFT_SHUTDOWN_S
from congrad_worker.settings import DecideSettings, GradientSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = cast("dict[str, dict[str, Any]]", COMPOSE["services"])
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")

READ_BY: dict[str, type[RedisSettings]] = {
    "service": ServiceSettings,
    "decide": DecideSettings,
    "gradients": GradientSettings,
    "gradients-cpu": GradientSettings,
}
INSIDE = {"host", "port", "redis_url", "metrics_host", "metrics_port"}
"""Where the parts find each other within the stack: the compose file and the images say it. `CONGRAD_PORT` in `.env` is
the port outside."""


def example() -> dict[str, str]:
    """The variables of .env.example with their values, those behind a # as well."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, flags=re.MULTILINE))


def variables() -> set[str]:
    """What the compose file takes from .env."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    passed_on = {name for service in SERVICES.values() for name, value in _environment(service) if value is None}
    return passed_on | set(re.findall(r"\$\{([A-Z0-9_]+)", text))


def _environment(service: dict[str, Any]) -> list[tuple[str, str | None]]:
    return list(service.get("environment", {}).items())


def seconds(duration: str) -> int:
    """The seconds of a duration such as `90s` or `1h`."""
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()  # type: ignore[union-attr] # None is a failure too
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


@pytest.mark.parametrize("name", READ_BY)
def test_every_setting_can_be_set(name: str) -> None:
    given = {variable for variable, _ in _environment(SERVICES[name])}
    assert {f"CONGRAD_{field.upper()}" for field in READ_BY[name].model_fields.keys() - INSIDE} <= given


def test_the_example_has_all_that_the_compose_file_takes_and_nothing_else() -> None:
    assert example().keys() == variables() | {"COMPOSE_PROFILES"}


def test_the_example_shows_the_defaults() -> None:
    for settings in (RedisSettings, ServiceSettings, DecideSettings, GradientSettings):
        for name, about in settings.model_json_schema()["properties"].items():
            if name in INSIDE | {"model", "api_key"}:
                continue
            shown = example()[f"CONGRAD_{name.upper()}"]
            value = about.get("default")
            if isinstance(value, float):
                assert float(shown) == value, name
            else:
                assert shown == ("" if value is None else str(value).lower()), name


def test_no_secret_has_a_value_that_ships() -> None:
    assert example()["CONGRAD_API_KEY"] == example()["CONGRAD_REDIS_PASSWORD"] == example()["HF_TOKEN"] == ""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name in ("CONGRAD_API_KEY", "CONGRAD_REDIS_PASSWORD"):
        assert set(re.findall(rf"\$\{{{name}(..)", text)) == {":?"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_shut_in(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_no_image_moves_by_itself(name: str) -> None:
    image = SERVICES[name]["image"]
    assert "congrad" in image or re.search(r":v?\d", image), image


def test_only_the_service_can_be_reached_from_other_hosts() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert {name for name, ports in published.items() if not ports[0].startswith("127.0.0.1:")} == {"service"}


def test_parts_are_given_the_time_that_they_need() -> None:
    assert seconds(SERVICES["service"]["stop_grace_period"]) > 2 * DRAIN_S
    for name in ("decide", "gradients", "gradients-cpu"):
        assert seconds(SERVICES[name]["stop_grace_period"]) > 2 * SOFT_SHUTDOWN_S
    for name in ("gradients", "gradients-cpu"):
        assert seconds(SERVICES[name]["healthcheck"]["start_period"]) >= LOAD_TIMEOUT_S


def test_the_images_say_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r'image\.version="(.+?)"', dockerfile) == [project["version"]] * 2
    assert re.findall(r'image\.licenses="(.+?)"', dockerfile) == [project["license"]] * 2
