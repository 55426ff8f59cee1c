"""The README's examples are run."""

import re
from pathlib import Path

import pytest
from congrad.stack import Stack
from congrad_service.settings import ServiceSettings
from congrad_worker.settings import DecideSettings, GradientSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONGRAD_BASE_URL", stack.url)
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 # our own text
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["de", "ja"]


def test_every_setting_of_the_design_is_described() -> None:
    fields = {*ServiceSettings.model_fields, *DecideSettings.model_fields, *GradientSettings.model_fields}
    internal = {"host", "port", "visibility_timeout", "chunk_tokens", "projection_rank", "projection_dim"}
    missing = [name for name in fields - internal if f"CONGRAD_{name.upper()}" not in README]
    assert missing == []
