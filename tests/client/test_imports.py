"""Imports run one way, and each part stays light."""

import subprocess
import sys

import congrad
import pytest

HEAVY = {"torch", "transformers", "peft", "fastapi", "celery", "redis", "numpy"}


def imported(module: str) -> set[str]:
    """The top-level packages that a fresh interpreter has after importing a module."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["congrad", "congrad.commands.app"])
def test_the_client_needs_nothing_of_the_service(module: str) -> None:
    packages = imported(module)
    assert not packages & (HEAVY | {"congrad_service", "congrad_worker"})


def test_the_client_leaves_to_its_command_and_integrations_what_only_they_need() -> None:
    assert not imported("congrad") & {"typer", "pyarrow", "datasets", "safetensors"}


def test_the_service_needs_nothing_of_the_worker() -> None:
    packages = imported("congrad_service.__main__")
    assert "fastapi" in packages
    assert not packages & {"torch", "transformers", "peft", "congrad_worker"}


def test_a_decide_worker_needs_no_torch_and_no_fastapi() -> None:
    assert not imported("congrad_worker.processes.decide_worker") & {"torch", "transformers", "fastapi"}


def test_the_parent_of_a_gradients_worker_needs_no_torch() -> None:
    code = (
        "import os, sys; os.environ['CONGRAD_MODEL'] = 'm'; import congrad_worker.processes.gradients_worker;"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_public_names_are_listed_and_there() -> None:
    assert sorted(congrad.__all__) == congrad.__all__
    assert all(hasattr(congrad, name) for name in congrad.__all__)
