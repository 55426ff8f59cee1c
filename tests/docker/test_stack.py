"""The stack of profile `cpu`, as deploy/README.md has it started: it is shut in, it filters, and it survives."""

import re
import shutil
import time
from typing import Any

import pytest
from congrad.contract import wire
from congrad.local.demo import demo_pairs
from numpy.testing import assert_equal
from safetensors.numpy import load
from support.containers import PARTS, ROOT, ComposeStack, docker, inspect
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

DIRECTION = "kept"


@pytest.fixture(scope="module")
def stack(built: ComposeStack) -> ComposeStack:
    """The stack, running, with a direction."""
    built.up()
    built.wait_until_healthy()
    with built.client() as client:
        client.filter(demo_samples("de", "fr", each=3), direction=DIRECTION)
    return built


def conversation(pair: dict[str, Any]) -> dict[str, Any]:
    """A pair as the demo's checkpoint has learnt to read it."""
    messages = {name: [{"role": "assistant", "content": pair[name]}] for name in ("chosen", "rejected")}
    prompt = [{"role": "user", "content": pair["prompt"]}]
    return {"id": pair["id"], "language": pair["language"], "prompt": prompt, **messages}


def counts(stack: ComposeStack) -> dict[str, int]:
    """Samples of each language in the direction."""
    with stack.client() as client:
        languages = client.directions.get(DIRECTION).languages
    return {tag: language.samples for tag, language in languages.items()}


def filter_more(stack: ComposeStack, before: dict[str, int]) -> None:
    """Filters a batch of new pairs, as known ones count no more, and checks that it was folded in exactly once.

    :param before: the counts of the direction until now. The SDK waits for a stack that is away with pairs only.
    """
    known = before["de"]
    pairs = [pair | {"prompt": f"{known} {pair['prompt']}"} for pair in demo_samples("de", "fr", each=3)]
    with stack.client() as client:
        answer = client.filter(pairs, direction=DIRECTION)
    assert [decision.id for decision in answer.decisions] == [pair["id"] for pair in pairs]
    assert all(decision.conflict_score is not None for decision in answer.decisions)
    assert counts(stack) == {**before, "de": before["de"] + 3, "fr": before["fr"] + 3}


@pytest.mark.parametrize("profile", ["cpu", "gpu", "monitoring"])
def test_compose_can_read_every_profile(built: ComposeStack, profile: str) -> None:
    built.compose("config", "--quiet", profile=profile)


def test_a_real_batch_is_filtered_through_the_published_port(stack: ComposeStack) -> None:
    pairs = demo_pairs()
    with stack.client() as client:
        (answer,) = client.filter_batches([conversation(pair) for pair in pairs], direction=DIRECTION)
    dropped = {decision.id for decision in answer.decisions if not decision.keep}
    planted = [pair["id"] in dropped for pair in pairs if pair["planted"]]
    clean = [pair["id"] in dropped for pair in pairs if not pair["planted"]]
    # A fifth of the pairs have a label that was swapped on purpose.
    assert sum(planted) / len(planted) > 2 * sum(clean) / len(clean)


def test_the_command_in_the_image_filters_too(stack: ComposeStack) -> None:
    """The first steps of deploy/README.md."""
    assert stack.execute("service", "congrad", "doctor").returncode == 0
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^docker compose exec service (congrad filter .*)$", page, flags=re.MULTILINE)
    done = stack.execute("service", *command.split())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", PARTS)
def test_a_container_is_shut_in(stack: ComposeStack, part: str) -> None:
    status = stack.execute(part, "cat", "/proc/1/status").stdout
    user, group = (re.findall(rf"^{name}:\s+(\d+)", status, flags=re.MULTILINE)[0] for name in ("Uid", "Gid"))
    assert "0" not in (user, group)
    assert set(re.findall(r"^Cap(?:Inh|Prm|Eff|Bnd|Amb):\s+(\w+)", status, flags=re.MULTILINE)) == {"0" * 16}
    assert "NoNewPrivs:\t1" in status
    for folder in ("", "/usr/local", "/etc", "/opt"):
        assert "Read-only file system" in stack.execute(part, "sh", "-c", f"echo > {folder}/written").stderr
    assert inspect(stack.container(part))["HostConfig"]["Privileged"] is False


def test_workers_may_write_to_their_home_and_not_to_checkpoints(stack: ComposeStack) -> None:
    """What comes from the hub is kept there."""
    kept = stack.execute("gradients-cpu", "sh", "-c", "echo kept > ~/kept && cat ~/kept")
    assert (kept.returncode, kept.stdout) == (0, "kept\n")
    assert "Read-only file system" in stack.execute("gradients-cpu", "sh", "-c", "echo > /models/written").stderr


def test_only_the_service_is_published(stack: ComposeStack) -> None:
    published = {part: inspect(stack.container(part))["NetworkSettings"]["Ports"] for part in PARTS}
    assert {part for part, ports in published.items() if any((ports or {}).values())} == {"service"}


def test_redis_keeps_what_it_has(stack: ComposeStack) -> None:
    for name, value in (("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("appendfsync", "everysec")):
        assert stack.execute("redis", "redis-cli", "config", "get", name).stdout.split() == [name, value]
    refused = stack.execute("redis", "env", "-u", "REDISCLI_AUTH", "redis-cli", "ping")
    assert "NOAUTH" in refused.stdout


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_crashes_is_started_again_and_loses_nothing(stack: ComposeStack, part: str) -> None:
    before, restarts = counts(stack), stack.restarts(part)
    stack.crash(part)
    begin = time.monotonic()
    filter_more(stack, before)
    print(f"{part}: a batch that was sent when it had crashed was answered after {time.monotonic() - begin:.1f} s")
    stack.wait_until_healthy()
    assert stack.restarts(part) == restarts + 1


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_was_killed_by_hand_is_brought_back_by_up(stack: ComposeStack, part: str) -> None:
    before = counts(stack)
    docker("kill", stack.container(part))
    stack.up()
    filter_more(stack, before)
    stack.wait_until_healthy()


def test_down_and_up_keep_the_direction(stack: ComposeStack) -> None:
    with stack.client() as client:
        before: wire.Direction = client.directions.get(DIRECTION)
        vectors = load(client.directions.export(DIRECTION))
    stack.compose("down")
    assert [stack.container(part) for part in PARTS] == [""] * len(PARTS)
    stack.up()
    stack.wait_until_healthy()
    with stack.client() as client:
        assert client.directions.get(DIRECTION) == before
        assert_equal(load(client.directions.export(DIRECTION)), vectors)
    filter_more(stack, counts(stack))


def test_a_folder_of_the_host_is_served_under_its_name_by_as_many_workers_as_are_asked_for(
    stack: ComposeStack,
) -> None:
    models = stack.folder / "models"
    shutil.copytree(DEMO_CHECKPOINT, models / "my-policy")
    for path in (models, *models.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    stack.set(CONGRAD_MODELS="./models", CONGRAD_MODEL="/models/my-policy", CONGRAD_WORKERS="2")
    stack.up()
    stack.wait_until_healthy()
    with stack.client() as client:
        (checkpoint,) = client.checkpoints()
    assert (checkpoint.name, checkpoint.workers) == ("my-policy", 2)
    filter_more(stack, counts(stack))  # the files are the same, and so is the direction


def test_nothing_has_tried_to_write_where_it_may_not(stack: ComposeStack) -> None:
    assert re.findall(r"^.*(?:Read-only file system|Permission denied|Errno 30).*$", stack.logs(), re.MULTILINE) == []
