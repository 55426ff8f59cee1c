"""Samples that the workers' loss cannot judge, over a real Redis. The workers are announced, but none is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from congrad.contract import wire
from congrad.contract.losses import refusal
from congrad_service.queue.registry import Role
from congrad_worker.gradients.losses.formulas import LOSSES
from congrad_worker.gradients.losses.preference import PreferenceLoss
from congrad_worker.loss_names import Loss
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.settings import GradientSettings
from congrad_worker.tasks.store import Store
from support.serving import ANNOUNCEMENT, service, settings
from support.stored import chunk_of

PAIR = {"id": "a", "language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
COMPLETION = {"id": "b", "language": "de", "prompt": "p", "completion": "c"}
MESSAGE = (
    "sample 1 (id 'b'): has a completion and no rejected, and the workers' loss is sigmoid, which compares two "
    "completions; serve the checkpoint with CONGRAD_LOSS=sft"
)


@asynccontextmanager
async def serving(redis_url: str, loss: str) -> AsyncIterator[tuple[httpx.AsyncClient, Store]]:
    """A service whose workers have a loss, as far as its registry knows."""
    store, other = Store(settings(redis_url)), Store(settings(redis_url))  # a process each
    announced = ANNOUNCEMENT.model_copy(update={"loss": loss})
    beats = [Heartbeat(store, Role.GRADIENTS, announced), Heartbeat(other, Role.DECIDE)]
    for beat in beats:
        beat.start()
    try:
        async with service(redis_url) as client:
            yield client, store
    finally:
        for beat in beats:
            beat.stop()
        for each in (store, other):
            each.redis.close()


def posted(redis_url: str, loss: str, *samples: dict[str, Any]) -> tuple[httpx.Response, list[wire.AnySample] | None]:
    """The answer, and what a worker would read."""

    async def post() -> tuple[httpx.Response, list[wire.AnySample] | None]:
        async with serving(redis_url, loss) as (client, store):
            headers = {"Prefer": "respond-async"}
            response = await client.post("/filter", json={"samples": list(samples)}, headers=headers)
            job_id = response.headers.get("location", "").removeprefix("/jobs/")
            return response, chunk_of(store, job_id, 0)

    return asyncio.run(post())


def test_completions_are_refused_before_a_job_is_made_where_the_loss_compares(redis_url: str) -> None:
    response, chunk = posted(redis_url, "sigmoid", PAIR, COMPLETION, COMPLETION | {"id": "c"})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"/samples/{i}/completion" for i in (1, 2)]
    assert response.json()["errors"][0]["detail"] == MESSAGE
    assert response.json()["detail"] == f"{MESSAGE} (and 1 more)"
    assert chunk is None


def test_one_request_may_hold_both_kinds_where_the_loss_does_not_compare(redis_url: str) -> None:
    response, chunk = posted(redis_url, "sft", PAIR, COMPLETION)
    assert response.status_code == 202, response.text
    assert chunk == [wire.Sample.model_validate(PAIR), wire.PromptCompletion.model_validate(COMPLETION)]


@pytest.mark.parametrize("name", LOSSES)
def test_service_and_worker_agree_on_the_losses_that_compare(name: Loss) -> None:
    smoothing = 0.01 if name == "exo_pair" else 0.0
    loss = PreferenceLoss(GradientSettings(model="unused", loss=name, label_smoothing=smoothing))
    assert (refusal(wire.PromptCompletion.model_validate(COMPLETION), name) is not None) is loss.compares
    assert refusal(wire.Sample.model_validate(PAIR), name) is None


@pytest.mark.parametrize(
    ("loss", "label", "message"),
    [
        ("kto", True, None),
        ("apo_zero_unpaired", False, None),
        ("kto", None, "has a completion without a label, and the workers' loss is kto, which needs one: true where"),
        ("sft", None, None),
        ("sft", False, "is sft, which learns every completion, unwanted ones too; leave the label out, or serve"),
        ("sigmoid", True, "which compares two completions; serve the checkpoint with CONGRAD_LOSS=kto"),
        ("sigmoid,sft", None, "loss is sigmoid,sft, which compares two completions; serve the checkpoint with"),
    ],
)
def test_labels_are_taken_where_the_loss_looks_at_them(loss: str, label: bool | None, message: str | None) -> None:
    found = refusal(wire.PromptCompletion.model_validate(COMPLETION | {"label": label}), loss)
    assert (found is None) == (message is None)
    assert (message or "") in (found or "")


def test_labelled_completions_and_pairs_are_one_request_to_kto(redis_url: str) -> None:
    response, chunk = posted(redis_url, "kto", PAIR, COMPLETION | {"label": False})
    assert response.status_code == 202, response.text
    assert chunk == [
        wire.Sample.model_validate(PAIR),
        wire.PromptCompletion.model_validate(COMPLETION | {"label": False}),
    ]


@pytest.mark.parametrize(
    ("sample", "pointer", "detail"),
    [
        (COMPLETION | {"chosen": "x"}, "/samples/0", "sample 0 (id 'b'): has a completion beside chosen"),
        (COMPLETION | {"prompt": 7}, "/samples/0/prompt", "sample 0 (id 'b'): prompt: should be a string or a list"),
        ({"language": "de", "completion": "c"}, "/samples/0/prompt", "sample 0: prompt: is missing"),
        (COMPLETION | {"colour": 1}, "/samples/0/colour", "colour: is not a known field"),
        (
            COMPLETION | {"prompt": [{"role": "user", "content": 1}], "completion": [{"role": "assistant"}]},
            "/samples/0/prompt/0/content",
            "prompt.0.content: should be a string or a list",
        ),
        ({"language": "de", "messages": [{"role": "user"}]}, "/samples/0", "sample 0: a conversation in messages does"),
        # Names of the two kinds are no part of a pointer, whatever a sample holds under them.
        (COMPLETION | {"PromptCompletion": {"prompt": 1}, "prompt": 7}, "/samples/0/prompt", "prompt: should be"),
        (PAIR | {"Sample": 1, "chosen": 7}, "/samples/0/chosen", "chosen: should be"),
        ({"language": "de"}, "/samples/0/chosen", "sample 0: chosen: is missing"),
        (7, "/samples/0", "sample 0: should be a valid dictionary"),
    ],
)
def test_what_is_wrong_with_a_sample_of_either_kind_is_pointed_at(
    sample: Any, pointer: str, detail: str, redis_url: str
) -> None:
    response, _ = posted(redis_url, "sft", sample)
    assert response.status_code == 422
    found = {error["pointer"]: error["detail"] for error in response.json()["errors"]}
    assert detail in found[pointer], found


def test_openapi_has_both_kinds(redis_url: str) -> None:
    async def document() -> Any:
        async with service(redis_url) as client:
            return (await client.get("/openapi.json")).json()

    schemas = asyncio.run(document())["components"]["schemas"]
    kinds = schemas["FilterRequest"]["properties"]["samples"]["items"]["oneOf"]
    assert kinds == [{"$ref": f"#/components/schemas/{name}"} for name in ("Sample", "PromptCompletion")]
    assert set(schemas["Sample"]["required"]) == {"language", "chosen", "rejected"}
    assert set(schemas["PromptCompletion"]["required"]) == {"language", "prompt", "completion"}
