"""Files that are nearly states of a direction: taken where they are one, refused as the client's fault elsewhere."""

import asyncio
import json
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from congrad_service import keys
from congrad_service.directions import direction_state
from congrad_service.http.errors import Unprocessable
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from safetensors.numpy import save
from support.fuzzing import examples
from support.serving import DIM, service
from support.states import METADATA

STATE = "/directions/default/state"
SAFETENSORS = {"Content-Type": "application/octet-stream"}

TENSORS = {f"{kind}/{tag}": np.ones(DIM, np.float32) for kind in ("sum", "recent") for tag in ("de", "fr")}
GOOD = save(TENSORS, METADATA)
HEADER: dict[str, Any] = json.loads(GOOD[8 : 8 + struct.unpack("<Q", GOOD[:8])[0]])
DATA = GOOD[8 + struct.unpack("<Q", GOOD[:8])[0] :]


def assembled(header: bytes, data: bytes = DATA, length: int | None = None) -> bytes:
    """A file of a header and data; ``length`` is what it says of the header's."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def with_field(name: str, text: str) -> bytes:
    """A file with one more field in the entry of a tensor; ``text`` is JSON."""
    rest = json.dumps(HEADER["sum/de"])[:-1]
    entry = f"{rest}, {json.dumps(name)}: {text}}}"
    return assembled(json.dumps(HEADER | {"sum/de": 0}).replace('"sum/de": 0', f'"sum/de": {entry}').encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
POSITIONS = st.integers(0, len(GOOD) - 1)


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    """Some bytes are others."""
    content = bytearray(GOOD)
    for position in draw(st.lists(POSITIONS, min_size=1, max_size=8)):
        content[position] = draw(st.integers(0, 255))
    return bytes(content)


@st.composite
def spliced(draw: st.DrawFn) -> bytes:
    """Cut, or with something put in."""
    first, last = sorted((draw(POSITIONS), draw(POSITIONS)))
    return GOOD[:first] + draw(st.binary(max_size=40)) + GOOD[last:]


@st.composite
def misdescribed(draw: st.DrawFn) -> bytes:
    """An entry of the header is another."""
    name = draw(st.sampled_from([*HEADER, "sum/sw", "", "__metadata__"]))
    entry: Any = draw(JSON)
    if name in TENSORS:
        shape = st.lists(st.integers(-1, 2**65) | st.sampled_from([0, 1, DIM]), max_size=3)
        offsets = st.lists(st.integers(-1, 2**65) | st.sampled_from([0, 64, 128, 192, 256]), max_size=3)
        dtype = st.sampled_from(["F32", "F64", "BF16", "I8", "BOOL", "F8_E4M3", "?", ""])
        changes = st.fixed_dictionaries({}, optional={"dtype": dtype, "shape": shape, "data_offsets": offsets})
        entry = draw(JSON | changes.map(lambda changed: HEADER[name] | changed))
    return assembled(json.dumps(HEADER | {name: entry}).encode())


@st.composite
def mismarked(draw: st.DrawFn) -> bytes:
    """A piece of the metadata is another."""
    name = draw(st.sampled_from([*METADATA, "colour"]))
    value = draw(st.text(max_size=20) | JSON.map(json.dumps) | st.floats().map(str) | st.integers().map(str))
    return save(TENSORS, METADATA | {name: value.encode(errors="replace").decode()})


@st.composite
def mislabelled(draw: st.DrawFn) -> bytes:
    """A field within the languages or the geometry is another."""
    part, *path = draw(
        st.sampled_from(
            [
                *(("languages", "fr", name) for name in ("samples", "weight", "norm", "colour")),
                *(("geometry", name) for name in ("norm", "cosines_before", "half_life", "aggregator")),
            ]
        )
    )
    whole = json.loads(METADATA[part])
    inner = whole
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = draw(JSON | st.sampled_from([-1, 0, 1e39, 1e308, float("nan"), 2**53 + 1, 10**400]))
    return save(TENSORS, METADATA | {part: json.dumps(whole)})


@st.composite
def renumbered(draw: st.DrawFn) -> bytes:
    """A tensor has other numbers, another shape or another type."""
    values = draw(st.lists(st.floats(width=32), max_size=20))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64, np.int32]))
    with np.errstate(all="ignore"):
        array = np.nan_to_num(values).astype(dtype) if dtype is np.int32 else np.array(values, np.float32).astype(dtype)
    return save(TENSORS | {draw(st.sampled_from([*TENSORS, "sum/sw", "recent"])): array}, METADATA)


FILES = st.one_of(
    flipped(), spliced(), misdescribed(), mismarked(), mislabelled(), renumbered(), st.binary(max_size=60)
)

ODD = {
    "a header of 2^63 bytes": assembled(b"{}", length=2**63),
    "a header that is longer than the file": assembled(b"{}", length=10_000),
    "a header of brackets": assembled(b"[" * 100_000),
    "nesting in a field that nobody knows": with_field("x", "[" * 100_000 + "]" * 100_000),
    "a number of 5,000 digits in a field that nobody knows": with_field("x", "9" * 5_000),
    "a shape given twice": with_field("shape", "[1]"),
    "a tensor given twice": assembled(json.dumps(HEADER)[:-1].encode() + b', "sum/de": {}}'),
    "metadata given twice": assembled(json.dumps(HEADER)[:-1].encode() + b', "__metadata__": {"version": "1"}}'),
    "a huge piece of metadata": save(TENSORS, METADATA | {"geometry": json.dumps(["x" * 50] * 100_000)}),
    "10,000 languages": save(TENSORS, METADATA | {"languages": json.dumps({f"x-{i}": {} for i in range(10_000)})}),
    "UTF-16": assembled(json.dumps(HEADER).encode("utf-16")),
}


def assert_valid(fields: dict[str, str | bytes]) -> None:
    """What is taken is a direction: counts, positive weights, finite vectors of one length."""
    languages = json.loads(fields["languages"])
    assert languages
    for tag, about in languages.items():
        assert about["samples"] >= 1
        assert 0 < about["weight"] < float("inf")
        for kind in ("sum", "recent"):
            vector = np.frombuffer(fields[f"{kind}:{tag}"], "<f4")  # type: ignore[arg-type]
            assert np.isfinite(vector).all()
    assert len({len(fields[f"sum:{tag}"]) for tag in languages}) == 1
    assert {name.split(":")[1] for name in fields if ":" in name} == set(languages)


@given(FILES)
@examples(200, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_is_a_direction_or_is_refused(content: bytes) -> None:
    try:
        fields, _ = direction_state.parse(content, {"f00d": DIM})
    except Unprocessable:
        pass  # anything else is a fault of ours
    else:
        assert_valid(fields)


@pytest.mark.parametrize("content", ODD.values(), ids=list(ODD))
def test_an_odd_file_is_refused_at_little_cost(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Unprocessable):
            direction_state.parse(content, {"f00d": DIM})
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content) + 2**20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def put(redis_server: str) -> Iterator[Any]:
    """Imports a file into a service."""
    with asyncio.Runner() as runner:
        serving = service(redis_server)
        client: httpx.AsyncClient = runner.run(serving.__aenter__())
        yield lambda content: runner.run(client.put(STATE, content=content, headers=SAFETENSORS))
        runner.run(serving.__aexit__(None, None, None))


@given(content=FILES)
@example(content=ODD["a number of 5,000 digits in a field that nobody knows"])
@example(content=ODD["10,000 languages"])
@examples(30, suppress_health_check=[HealthCheck.too_slow])
def test_a_refused_file_is_answered_with_a_problem_and_writes_nothing(
    put: Any, redis_server: str, content: bytes
) -> None:
    with redis.Redis.from_url(redis_server) as connection:
        connection.flushall()
        response = put(content)
        held = connection.hgetall(keys.direction("default"))
        if response.status_code == 201:
            assert held[b"version"] == str(response.json()["version"]).encode()
        else:
            assert response.status_code == 422
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["errors"]
            assert list(connection.scan_iter("congrad:direction*")) == []
