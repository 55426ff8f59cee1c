"""The images: how large they are, and how long they take to build again."""

import re
import time

import pytest
from support.containers import PYTHON_IMAGE, ComposeStack, docker, inspect

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400), pytest.mark.usefixtures("built")]

MB = 1e6
SERVICE, WORKER = "congrad-service", "congrad-worker:cpu"


def size(image: str) -> int:
    """Bytes, those of the base image included."""
    return int(inspect(image)["Size"])


def own_size(image: str) -> int:
    """Bytes that an image has on top of Python's."""
    return size(image) - size(PYTHON_IMAGE)


def torch_size(image: str) -> int:
    """Bytes of the layer that has torch and what torch needs."""
    history = docker("history", "--no-trunc", "--human=false", "--format={{.Size}} {{.CreatedBy}}", image)
    (layer,) = [line for line in history.splitlines() if "--requirement /opt/congrad/requirements/torch.txt" in line]
    return int(layer.split()[0])


def test_the_service_is_small() -> None:
    print(f"{SERVICE}: {own_size(SERVICE) / MB:.0f} MB on top of {PYTHON_IMAGE}")
    assert own_size(SERVICE) < 300 * MB
    packages = docker("run", "--rm", SERVICE, "ls", "/opt/congrad/lib/python3.11/site-packages").split()
    assert "numpy" in packages
    assert "torch" not in packages


def test_the_worker_is_torch_and_little_else() -> None:
    rest = own_size(WORKER) - torch_size(WORKER)
    print(f"{WORKER}: {torch_size(WORKER) / MB:.0f} MB with torch, {rest / MB:.0f} MB without")
    assert torch_size(WORKER) > 500 * MB
    assert rest < 400 * MB


def test_a_changed_source_costs_seconds(built: ComposeStack) -> None:
    source = built.folder / "worker" / "congrad_worker" / "tasks" / "store.py"
    before = {image: inspect(image)["Id"] for image in (SERVICE, WORKER)}
    source.write_text(f"{source.read_text(encoding='utf-8')}# {time.time_ns()}\n", encoding="utf-8")
    begin = time.monotonic()
    built.compose("build")
    took = time.monotonic() - begin
    print(f"both images anew after a change in {source.name}: {took:.1f} s")
    assert took < 20
    assert all(inspect(image)["Id"] != before[image] for image in before)


def test_bytecode_is_in_the_images_and_valid() -> None:
    """The file system is read-only: what is not compiled is compiled at each start."""
    for image, module in ((SERVICE, "congrad_service.app"), (WORKER, "congrad_worker.checkpoints.checkpoint")):
        code = f"import sys; sys.dont_write_bytecode = True; import {module}"
        tried = docker("run", "--rm", "--entrypoint=sh", image, "-c", f'python -v -c "{code}" 2>&1')
        compiled = re.findall(r"^# code object from '(/opt/congrad/.*\.py)'$", tried, flags=re.MULTILINE)
        assert "matches" in tried
        assert compiled == []


@pytest.mark.parametrize("image", [SERVICE, WORKER])
def test_images_say_what_they_are(image: str) -> None:
    config = inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert {f"org.opencontainers.image.{label}" for label in ("title", "description", "version", "licenses")} <= set(
        config["Labels"]
    )
