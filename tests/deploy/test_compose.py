"""docker-compose.yml, .env.example and Dockerfile are at one with the settings that the program reads."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, cast

import pytest
import yaml  # type: ignore[import-untyped] # no stubs here
from congrad.local.redis_server import memory_limit
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
            if name in INSIDE | {"model", "models", "api_key", "read_key"}:
                continue
            shown = example()[f"CONGRAD_{name.upper()}"]
            value = about.get("default")
            if isinstance(value, float):
                assert float(shown) == value, name
            else:
                assert shown == ("" if value is None else str(value).lower()), name


def test_a_worker_that_is_meant_for_a_gpu_does_not_take_the_cpu_in_its_place() -> None:
    assert SERVICES["gradients"]["environment"]["CONGRAD_DEVICE"] == "${CONGRAD_DEVICE:-cuda}"
    assert SERVICES["gradients-cpu"]["environment"]["CONGRAD_DEVICE"] is None


@pytest.mark.parametrize("given", ["", "123mb"])
def test_redis_has_a_limit_on_its_memory(given: str, tmp_path: Path) -> None:
    """The command as the container runs it, with a Redis that only says what it was asked for."""
    (tmp_path / "redis-server").write_text('#!/bin/sh\numask\necho "$@"\n')
    (tmp_path / "redis-server").chmod(0o755)
    shell, option, text = SERVICES["redis"]["command"]
    text = text.replace("$$", "$").replace("/tmp/redis.conf", str(tmp_path / "redis.conf"))  # noqa: S108
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REDISCLI_AUTH": "x", "MAXMEMORY": given}
    done = subprocess.run([shell, option, text], env=environment, capture_output=True, text=True, check=True)
    umask, arguments = done.stdout.splitlines()
    assert int(umask, 8) == 0o077
    assert "--maxmemory-policy noeviction" in arguments
    (limit,) = re.findall(r"--maxmemory (\S+)", arguments)
    assert limit == given or abs(int(limit) - memory_limit()) < 2**20


def test_prometheus_has_a_token_that_only_looks() -> None:
    assert "CONGRAD_API_KEY" not in json.dumps(SERVICES["prometheus"])
    assert "CONGRAD_READ_KEY" in SERVICES["prometheus"]["environment"]


def test_the_command_of_the_readme_makes_three_different_secrets(tmp_path: Path) -> None:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^sed .*> \.env.*$", page, flags=re.MULTILINE)
    (tmp_path / ".env.example").write_text(EXAMPLE)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)  # noqa: S607
    made = dict(re.findall(r"^(CONGRAD_\w+)=(.+)$", (tmp_path / ".env").read_text(), flags=re.MULTILINE))
    secrets = [made[name] for name in ("CONGRAD_API_KEY", "CONGRAD_READ_KEY", "CONGRAD_REDIS_PASSWORD")]
    assert len(set(secrets)) == 3
    assert min(map(len, secrets)) >= 48


def test_no_secret_has_a_value_that_ships() -> None:
    secrets = ("CONGRAD_API_KEY", "CONGRAD_READ_KEY", "CONGRAD_REDIS_PASSWORD", "HF_TOKEN")
    assert {example()[name] for name in secrets} == {""}
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
