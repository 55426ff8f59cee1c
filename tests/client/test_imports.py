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


def loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running it."""
    code = f"{code}; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    of_this_project = {name for name in loaded("import congrad") if name.partition(".")[0] == "congrad"}
    assert of_this_project == {"congrad"}
    assert not loaded("import congrad") & {"pydantic", "httpx", "asyncio", "ssl", "importlib.metadata", "rich", "typer"}


def test_a_client_is_made_without_what_its_first_call_may_not_need() -> None:
    packages = loaded("import congrad; congrad.Client()")
    assert {"httpx", "pydantic", "congrad.client"} <= packages
    assert not packages & {"httpx_sse", "langcodes", "pyarrow", "datasets", "safetensors"}
    assert not packages & {"congrad.async_client", "congrad.formats", "congrad.gradients", "congrad.showing.notebook"}
    # httpx brings others, where it finds click and trio.
    own = packages - loaded("import httpx, pydantic; httpx.Client()")
    assert not {name.partition(".")[0] for name in own} & {"asyncio", "rich", "typer"}


def seconds(code: str) -> float:
    """The least of three fresh interpreters."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


@pytest.mark.timing
def test_the_package_is_imported_and_a_client_made_in_no_time_that_anyone_would_notice() -> None:
    assert seconds("import congrad") < 0.3
    assert seconds("import congrad; congrad.Client()") < 0.9


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


WITHOUT = """
import runpy, sys
sys.modules[sys.argv.pop()] = None
runpy.run_module(sys.argv.pop(), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "arguments", "absent", "extra"),
    [
        ("congrad_service", [], "fastapi", "service"),
        ("congrad_worker", ["gradients"], "redis", "worker"),
        ("congrad_worker", ["gradients", "2"], "pydantic_settings", "worker"),
        ("congrad_worker", ["decide"], "psutil", "worker"),
    ],
)
def test_a_part_that_is_started_without_its_extra_says_which(
    module: str, arguments: list[str], absent: str, extra: str
) -> None:
    command = [sys.executable, "-c", WITHOUT, *arguments, module, absent]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"{absent} is not installed" in done.stderr
    assert f"'congrad-filter[{extra}]'" in done.stderr
