"""`/directions/{name}/state`: what is written is what was read, and nothing else is ever written."""

import asyncio
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from congrad.contract import wire
from congrad_service import keys
from congrad_service.queue.registry import Role
from congrad_worker.tasks.store import Store
from safetensors.numpy import load, save
from support.interrupted import Interrupted
from support.serving import DIM, announce_workers, compute, service, settings, settle, submit
from support.states import GEOMETRY, LANGUAGES, METADATA

STATE = "/directions/default/state"
SAFETENSORS = {"Content-Type": "application/octet-stream"}


async def fold(client: httpx.AsyncClient, store: Store, *languages: str, **body: Any) -> wire.Job:
    """Folds random gradients into a direction."""
    job_id = await submit(client, languages, **body)
    compute(store, job_id)
    settle(store, job_id)
    return wire.Job.model_validate((await client.get(f"/jobs/{job_id}")).json())


def stored(redis_url: str, name: str = "default") -> dict[bytes, bytes]:
    """A direction's hash."""
    with redis.Redis.from_url(redis_url) as connection:
        found: dict[bytes, bytes] = connection.hgetall(keys.direction(name))
        return found


def test_an_imported_direction_is_the_exported_one_in_a_new_life(redis_url: str, store: Store) -> None:
    async def round_trip() -> None:
        async with service(redis_url) as client:
            await fold(client, store, "de", "fr", "zh-Hant")
            await fold(client, store, "de", "sw")
            shown, held = (await client.get("/directions/default")).json(), stored(redis_url)
            exported = await client.get(STATE)
            assert exported.headers["content-type"] == "application/octet-stream"
            assert exported.headers["content-disposition"] == 'attachment; filename="default.safetensors"'
            await client.delete("/directions/default")
            for status in (201, 200):
                imported = await client.put(STATE, content=exported.content, headers=SAFETENSORS)
                assert (imported.status_code, imported.json()) == (status, shown)
            assert (await client.get("/directions/default")).json() == shown
            again = stored(redis_url)
            assert again.pop(b"epoch") != held.pop(b"epoch")
            # What follows from the vectors is no part of the file: the workers compute it again. No job made it.
            assert {name: held.pop(name) for name in (b"gram", b"weights", b"by")}.keys().isdisjoint(again)
            new, old = (np.frombuffer(fields.pop(b"cosines"), "<f4") for fields in (again, held))
            assert np.allclose(new, old, atol=1e-6)
            assert again == held
            assert [row["name"] for row in (await client.get("/directions")).json()] == ["default"]

    asyncio.run(round_trip())


def test_the_file_can_be_read_by_anyone(redis_url: str, store: Store) -> None:
    async def export() -> bytes:
        async with service(redis_url) as client:
            job = await fold(client, store, "de", "fr", "sw")
            assert job.result is not None
            scores = {d.language: d.conflict_score for d in job.result.decisions}
            content = (await client.get(STATE)).content
            assert {tag: load(content)[f"recent/{tag}"].tolist() for tag in scores} == {
                tag: [pytest.approx(score)] for tag, score in scores.items()
            }
            return content

    content = asyncio.run(export())
    draw = np.random.default_rng(0).standard_normal((3, DIM)).astype(np.float32)
    for row, tag in zip(draw, ("de", "fr", "sw"), strict=True):
        # Gradients travel in half precision.
        assert np.allclose(load(content)[f"sum/{tag}"], row, rtol=2e-3, atol=2e-3)


def test_a_job_in_flight_is_folded_into_what_was_imported_meanwhile(redis_url: str, store: Store) -> None:
    async def race() -> None:
        async with service(redis_url) as client:
            await fold(client, store, "de", "fr")
            await fold(client, store, "ja", direction="other")  # at the same version
            content = (await client.get("/directions/other/state")).content
            job_id = await submit(client, ["sw"])
            compute(store, job_id)
            loop = asyncio.get_running_loop()
            worker = Interrupted(settings(redis_url))
            worker.happening = lambda: asyncio.run_coroutine_threadsafe(
                client.put(STATE, content=content, headers=SAFETENSORS), loop
            ).result(timeout=20)
            await asyncio.to_thread(settle, worker, job_id)
            worker.redis.close()
            direction = wire.Direction.model_validate((await client.get("/directions/default")).json())
            assert (direction.version, list(direction.languages)) == (2, ["ja", "sw"])
            vectors = load((await client.get(STATE)).content)
            assert sorted({name.partition("/")[0] for name in vectors}) == ["pairs", "recent", "stakes", "sum"]
            assert {name.partition("/")[2] for name in vectors} == {"ja", "sw"}

    asyncio.run(race())


def test_a_direction_without_any_score_yet_makes_the_round_trip(redis_url: str, store: Store) -> None:
    async def round_trip() -> None:
        async with service(redis_url) as client:
            await fold(client, store, "de")
            shown, content = (await client.get("/directions/default")).json(), (await client.get(STATE)).content
            assert load(content)["recent/de"].shape == (0,)
            imported = await client.put("/directions/copy/state", content=content, headers=SAFETENSORS)
            assert imported.json() == shown | {"name": "copy"}

    asyncio.run(round_trip())


SUM, RECENT = np.ones(DIM, np.float32), np.zeros(3, np.float32)
TENSORS = {"sum/de": SUM, "sum/fr": SUM, "recent/de": RECENT, "recent/fr": RECENT}


def without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def with_metadata(**changed: str) -> bytes:
    return save(TENSORS, METADATA | changed)


def with_language(tag: str = "fr", **changed: object) -> bytes:
    return with_metadata(languages=json.dumps({"de": LANGUAGES["de"], tag: LANGUAGES["fr"] | changed}))


def with_geometry(**changed: object) -> bytes:
    return with_metadata(geometry=json.dumps(GEOMETRY | changed))


def with_tensor(name: str, values: np.ndarray) -> bytes:
    return save(TENSORS | {name: values}, METADATA)


def assert_refused(redis_url: str, content: bytes, detail: str) -> None:
    async def put() -> httpx.Response:
        async with service(redis_url) as client:
            return await client.put(STATE, content=content, headers=SAFETENSORS)

    response = asyncio.run(put())
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [error for error in response.json()["errors"] if detail in error["detail"]], response.text
    with redis.Redis.from_url(redis_url) as connection:
        assert list(connection.scan_iter("congrad:direction*")) == []


def test_the_file_that_the_refused_ones_are_made_from_is_good(redis_url: str) -> None:
    async def put() -> None:
        async with service(redis_url) as client:
            imported = await client.put(STATE, content=with_metadata(), headers=SAFETENSORS)
            assert imported.status_code == 201, imported.text
            assert imported.json()["languages"] == LANGUAGES
            assert imported.json()["cosines_after"] == GEOMETRY["cosines_after"]

    asyncio.run(put())


SHORT = save({name: vector[:8] for name, vector in TENSORS.items()}, METADATA)
"""A state whose vectors have half as many numbers as the gradients of the checkpoint that is announced."""


@pytest.mark.usefixtures("store")
def test_a_state_of_another_length_than_a_live_checkpoints_gradients_is_refused(redis_url: str) -> None:
    for detail in ("sum/LANGUAGE have 8 numbers", "gradients of checkpoint f00d have 16"):
        assert_refused(redis_url, SHORT, detail)


@pytest.mark.usefixtures("store")
def test_vectors_without_a_length_are_refused_as_such(redis_url: str) -> None:
    scalar = np.array(1, np.float32)
    content = save(TENSORS | {"sum/de": scalar, "sum/fr": scalar}, METADATA)
    assert_refused(redis_url, content, "tensor sum/de should be F32 of one dimension; it is F32 of shape []")


@pytest.mark.usefixtures("store")
def test_a_state_whose_checkpoint_is_not_served_may_have_any_length(redis_url: str) -> None:
    async def put() -> None:
        async with service(redis_url) as client:
            unserved = save(load(SHORT), METADATA | {"fingerprint": "beef"})
            assert (await client.put(STATE, content=unserved, headers=SAFETENSORS)).status_code == 201
            with redis.Redis.from_url(redis_url) as connection:
                connection.delete(keys.workers(Role.GRADIENTS))
            assert (await client.put(STATE, content=SHORT, headers=SAFETENSORS)).status_code == 200

    asyncio.run(put())


@pytest.mark.parametrize("update", [True, False])
def test_a_job_whose_gradients_have_another_length_than_the_direction_is_409(update: bool, redis_url: str) -> None:
    async def fail() -> None:
        async with service(redis_url) as client:
            assert (await client.put(STATE, content=SHORT, headers=SAFETENSORS)).status_code == 201
            announce_workers(redis_url)
            held = stored(redis_url)
            worker = Store(settings(redis_url))
            error = (await fold(client, worker, "de", "sw", update=update)).error
            worker.redis.close()
            assert error is not None
            assert error.status == 409
            assert "direction 'default' holds vectors of 8 numbers" in error.detail
            assert "gradients have 16" in error.detail
            assert stored(redis_url) == held

    asyncio.run(fail())


HALF = SUM.astype(np.float16)
NAN, INFINITE = (np.full(DIM, value, np.float32) for value in (np.nan, np.inf))

TINY = json.dumps({"de": LANGUAGES["de"], "fr": LANGUAGES["fr"] | {"weight": 1e-12}})

REFUSED: list[tuple[Callable[[], bytes], str]] = [
    (lambda: b"", "body: is missing"),
    (lambda: b"hello", "the body is not a safetensors file"),
    (lambda: pickle.dumps(TENSORS), "the body is not a safetensors file"),
    (lambda: with_metadata()[:-1], "the body is not a safetensors file"),
    (lambda: save(TENSORS), "metadata.format_version: Field required"),
    (lambda: with_metadata(format_version="3"), "metadata.format_version: Input should be '1' or '2'"),
    (lambda: save(TENSORS, without(METADATA, "fingerprint")), "metadata.fingerprint: Field required"),
    (lambda: with_metadata(fingerprint=""), "metadata.fingerprint: Value should have at least 1 item"),
    (lambda: with_metadata(colour="red"), "metadata.colour: Extra inputs are not permitted"),
    (lambda: with_metadata(version="0"), "metadata.version: Input should be greater than or equal to 1"),
    (lambda: with_metadata(version="1.5"), "metadata.version: Input should be a valid integer"),
    (lambda: with_metadata(created="nan"), "metadata.created: Input should be a finite number"),
    (lambda: with_metadata(updated="1e300"), "metadata.updated: Input should be less than"),
    (lambda: with_metadata(languages="{"), "metadata.languages: Invalid JSON"),
    (lambda: with_metadata(languages="[" * 100_000), "metadata.languages: Invalid JSON"),
    (lambda: with_metadata(languages="{}"), "metadata.languages: Dictionary should have at least 1 item"),
    (lambda: with_language("franch"), "'franch' is not a BCP 47 language tag"),
    (lambda: with_language("fr_fr"), "'fr_fr' should be written 'fr-FR'"),
    (lambda: with_language(weight=0), "metadata.languages.fr.weight: Input should be greater than"),
    (lambda: with_language(weight=-1.0), "metadata.languages.fr.weight: Input should be greater than"),
    (lambda: with_language(weight=float("nan")), "metadata.languages.fr.weight: Input should be a finite number"),
    (
        lambda: with_language(weight=5e-324),
        "metadata.languages.fr.weight: Input should be greater than or equal to 0.000000000001",
    ),
    (
        lambda: save(TENSORS | {"sum/fr": SUM * 1e4}, METADATA | {"languages": TINY}),
        "tensor sum/fr over its weight is a mean",
    ),
    (lambda: with_language(norm=1e300), "metadata.languages.fr.norm: Input should be less than or equal to 1"),
    (lambda: with_metadata(fingerprint="f" * 5_000_000), "metadata.fingerprint: Value should have at most 256 items"),
    (lambda: with_metadata(checkpoint="f" * 257), "metadata.checkpoint: Value should have at most 256 items"),
    (lambda: with_language(norm=float("inf")), "metadata.languages.fr.norm: Input should be a finite number"),
    (lambda: with_language(samples=0), "metadata.languages.fr.samples: Input should be greater than or equal to 1"),
    (lambda: with_geometry(norm=float("nan")), "metadata.geometry.norm: Input should be a finite number"),
    (lambda: with_geometry(cosines_before=[[1.0]]), "geometry.cosines_before should be 2 × 2"),
    (lambda: with_geometry(cosines_after=[[1, 0], [0]]), "geometry.cosines_after should be 2 × 2"),
    (lambda: with_geometry(cosines_after=[[1, 0], [0, 1.5]]), "metadata.geometry.cosines_after.1.1: Input should be"),
    (lambda: with_geometry(half_life=0), "metadata.geometry.half_life: Input should be greater than or equal to 0.001"),
    # What is folded in at a half-life of that weighs so little that float32 holds none of it.
    (lambda: with_geometry(half_life=1e-40), "metadata.geometry.half_life: Input should be greater than or equal"),
    (lambda: save(without(TENSORS, "sum/fr"), METADATA), "tensor sum/fr is missing"),
    (lambda: save(without(TENSORS, "recent/de"), METADATA), "tensor recent/de is missing"),
    (lambda: with_tensor("sum/sw", SUM), "tensor sum/sw belongs to no language of the metadata"),
    (lambda: with_tensor("epoch", SUM), "tensor epoch belongs to no language of the metadata"),
    (lambda: with_tensor("sum/de", HALF), "tensor sum/de should be F32 of one dimension; it is F16 of shape [16]"),
    (lambda: with_tensor("recent/de", RECENT[:, None]), "tensor recent/de should be F32 of one dimension"),
    (lambda: with_tensor("sum/de", SUM[1:]), "should have one shape; they have {'de': [15], 'fr': [16]}"),
    (lambda: save(TENSORS | {"sum/de": SUM[:0], "sum/fr": SUM[:0]}, METADATA), "should not be empty"),
    (lambda: with_tensor("sum/de", NAN), "tensor sum/de has numbers that are not finite"),
    (lambda: with_tensor("recent/fr", INFINITE), "tensor recent/fr has numbers that are not finite"),
    (lambda: with_tensor("recent/fr", RECENT - 1.5), "tensor recent/fr has conflict scores that are no cosines"),
    (lambda: with_geometry(aggregator={"name": "nash"}), "metadata.geometry.aggregator: name should be one of pcgrad"),
]


HASHES = np.arange(32, dtype=np.uint8).reshape(2, 16)
STAKES = np.array([[1.0, 1.0], [3.0, 0.5]])
NONE = {"pairs/fr": HASHES[:0], "stakes/fr": STAKES[:0]}
PAIRS = {"pairs/de": HASHES, "stakes/de": STAKES, **NONE}


def with_pairs(**changed: np.ndarray) -> bytes:
    """A file of version 2; of de, the tensors of what is remembered are others."""
    tensors = TENSORS | PAIRS | {f"{kind}/de": values for kind, values in changed.items()}
    return save(tensors, METADATA | {"format_version": "2", "forgotten": "4"})


WHOLE = "tensor stakes/de should have whole numbers from 1 to 3 in its first column"

REFUSED += [
    (lambda: save(TENSORS, METADATA | {"format_version": "2"}), "tensor pairs/de is missing"),
    (lambda: save(TENSORS | PAIRS, METADATA), "tensor pairs/de belongs to no language of the metadata"),
    (lambda: with_pairs(pairs=HASHES[:1]), "tensors pairs/de and stakes/de should have as many rows"),
    (lambda: with_pairs(pairs=HASHES[[0, 0]]), "tensor pairs/de has a pair twice"),
    (lambda: with_pairs(pairs=HASHES.astype(np.int32)), "tensor pairs/de should be U8 of shape [pairs, 16]; it is I32"),
    (lambda: with_pairs(stakes=STAKES[:, :1]), "tensor stakes/de should be F64 of shape [pairs, 2]; it is F64"),
    (lambda: with_pairs(stakes=STAKES * [1, 0]), "tensor stakes/de should have amounts above 0"),
    (lambda: with_pairs(stakes=STAKES * [1, np.nan]), "tensor stakes/de should have amounts above 0"),
    (lambda: with_pairs(stakes=STAKES * [1, 1e300]), "tensor stakes/de should have amounts above 0"),
    (lambda: with_pairs(stakes=STAKES * [0.5, 1]), WHOLE),
    (lambda: with_pairs(stakes=STAKES * [2, 1]), WHOLE),
    (lambda: with_pairs(stakes=STAKES * [np.nan, 1]), WHOLE),
]


def test_what_a_direction_remembers_makes_the_round_trip(redis_url: str) -> None:
    async def round_trip() -> None:
        async with service(redis_url) as client:
            imported = await client.put(STATE, content=with_pairs(), headers=SAFETENSORS)
            assert imported.status_code == 201, imported.text
            assert (imported.json()["remembered"], imported.json()["forgotten"]) == (2, 4)
            assert load((await client.get(STATE)).content).keys() == (TENSORS | PAIRS).keys()
            again = load((await client.get(STATE)).content)
            assert all(np.array_equal(again[name], values) for name, values in PAIRS.items())
            # A file of before has none, and they are gone.
            assert (await client.put(STATE, content=with_metadata(), headers=SAFETENSORS)).json()["remembered"] == 0
            assert not load((await client.get(STATE)).content)["pairs/de"].size

    asyncio.run(round_trip())


@pytest.mark.parametrize(("content", "detail"), REFUSED, ids=[detail for _, detail in REFUSED])
def test_whatever_is_wrong_with_a_file_is_named_and_nothing_is_written(
    content: Callable[[], bytes], detail: str, redis_url: str
) -> None:
    assert_refused(redis_url, content(), detail)


def test_every_fault_is_named(redis_url: str) -> None:
    content = save({"sum/de": NAN, "sum/fr": HALF, "recent/de": RECENT}, METADATA)
    for detail in ("recent/fr is missing", "sum/de has numbers", "sum/fr should be F32"):
        assert_refused(redis_url, content, detail)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/directions/unknown/state", {}, 404),
        ("PUT", "/directions/-a/state", {}, 422),
        ("PUT", "/directions/" + "a" * 129 + "/state", {}, 422),
        ("PUT", STATE, {"max_body_bytes": 100}, 413),
        ("PUT", STATE, {"api_key": "secret"}, 401),
        ("GET", STATE, {"api_key": "secret"}, 401),
    ],
)
def test_names_limits_and_the_token_are_checked_as_everywhere(
    method: str, path: str, options: dict[str, Any], status: int, redis_url: str
) -> None:
    async def ask() -> httpx.Response:
        content = with_metadata() if method == "PUT" else None
        async with service(redis_url, **options) as client:
            return await client.request(method, path, content=content, headers=SAFETENSORS)

    response = asyncio.run(ask())
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert stored(redis_url) == {}


def test_a_header_of_more_tensors_than_a_direction_has_is_refused_before_each_is_looked_at(redis_url: str) -> None:
    nothing = np.zeros(0, np.float32)
    many = save({str(number): nothing for number in range(20_000)}, METADATA)
    assert_refused(redis_url, many, "the header names more tensors than 1024 languages have")


def test_a_header_of_as_many_languages_as_a_direction_has_is_looked_at(redis_url: str) -> None:
    nothing = np.zeros((0, 16), np.uint8)
    names = [f"{kind}/de-x-{number}" for number in range(1024) for kind in ("sum", "recent", "pairs", "stakes")]
    assert_refused(redis_url, save(dict.fromkeys(names, nothing), METADATA), "belongs to no language of the metadata")
