"""Tests with a container engine: `make test-docker` runs them, and they skip where there is none."""

from collections.abc import Iterator

import pytest
from support.containers import ComposeStack, missing_engine


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: needs a container engine; run on demand with `make test-docker`")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """The stack, with its images built and nothing running yet."""
    if (reason := missing_engine()) is not None:
        pytest.skip(reason)
    stack = ComposeStack(tmp_path_factory.mktemp("docker") / "repository")
    stack.compose("build")
    try:
        yield stack
    finally:
        stack.remove()
