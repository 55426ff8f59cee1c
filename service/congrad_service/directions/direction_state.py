"""A running direction as a safetensors file: what `GET /directions/{name}/state` gives and `PUT` takes.

Tensors: sum/LANGUAGE (float32 [D]) and recent/LANGUAGE (float32 [n]); and of the pairs that it remembers, sorted by
their hashes, pairs/LANGUAGE (uint8 [m, 16]: the hashes) and stakes/LANGUAGE (float64 [m, 2]: samples and amount, see
`remembered.py`). Metadata (strings): the other fields of the direction's hash, see `directions.py`, and the version of
this format; neither the name nor the epoch. Files of version 1 have no pairs. What comes in is checked to the last
number, because the workers believe what Redis holds.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, get_args

import numpy as np
from congrad.contract import wire
from congrad.contract.aggregators import AggregatorName
from congrad.contract.samples import Request, Text
from congrad.contract.tags.languages import normalise_language
from congrad.contract.validation.bounded import few_fields
from pydantic import AfterValidator, BeforeValidator, FailFast, Field, Json, ValidationError, model_validator
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from congrad_service.directions.cosines import cosines_of, held_cosines
from congrad_service.directions.remembered import HASH_BYTES, PAIR, by_language, dumped
from congrad_service.directions.remembered import fields as remembered_fields
from congrad_service.edge.json_values import values
from congrad_service.http.errors import Unprocessable

FORMAT_VERSION = "2"
FIELDS = ("version", "fingerprint", "checkpoint", "created", "updated", "languages", "geometry")
VECTORS = ("sum", "recent")
MATRICES = {"pairs": ("U8", HASH_BYTES), "stakes": ("F64", 2)}
"""Their dtypes, and their columns."""


def _is_normalised(tag: str) -> str:
    if (normalised := normalise_language(tag)) != tag:
        raise ValueError(f"{tag!r} should be written {normalised!r}")
    return tag


Name = Annotated[Text, Field(min_length=1, max_length=256)]
"""Of a checkpoint; or its fingerprint."""
Tag = Annotated[str, AfterValidator(_is_normalised)]
Count = Annotated[int, Field(ge=1, le=2**53)]
Seconds = Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)]
"""Since 1970, up to the end of the year 9999: what a datetime holds."""
HalfLife = Annotated[float, Field(ge=wire.SHORTEST, allow_inf_nan=False)]
"""As a request may ask for: by a much shorter one what is folded in weighs so little that float32 holds none of it."""
Weight = Annotated[float, Field(ge=1e-12, le=2**53, allow_inf_nan=False)]
Norm = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Cosines = Annotated[list[Annotated[list[Cosine], FailFast()]], FailFast()]

LARGEST_SCORE = 1 + 1e-6
"""A cosine, and what rounding adds to it."""
MAX_HEADER_VALUES = 32 * wire.MAX_LANGUAGES * (len(VECTORS) + len(MATRICES))
"""Names and values: a tensor has sixteen at most."""
MAX_FAULTS = 1000
"""Both so that the errors of a large file have an end."""
MAX_MEAN = 1e15
"""Of the numbers in a language's mean: sums of their squares over any direction stay finite, in float32 too."""


def _are_few(languages: Any) -> Any:
    if isinstance(languages, dict) and len(languages) > wire.MAX_LANGUAGES:
        raise ValueError(f"there are {len(languages)}; a direction has {wire.MAX_LANGUAGES} at most")
    return languages


def _is_known(aggregator: dict[str, str | int]) -> dict[str, str | int]:
    if aggregator.get("name") not in get_args(AggregatorName):
        raise ValueError(f"name should be one of {', '.join(get_args(AggregatorName))}")
    return aggregator


class Language(Request):
    """Samples folded in, W, and ‖ĝ‖ of one language."""

    samples: Count
    weight: Weight
    norm: Norm


class Geometry(Request):
    """What `wire.Direction` shows of the surgery."""

    norm: Norm
    cosines_before: Cosines
    cosines_after: Cosines
    half_life: HalfLife | None
    aggregator: Annotated[dict[Text, Text | int], BeforeValidator(few_fields), AfterValidator(_is_known)]
    weights: Annotated[dict[Tag, Cosine], BeforeValidator(_are_few)] = Field(default_factory=dict)


class Metadata(Request):
    """The metadata of a file."""

    format_version: Literal["1", "2"]
    version: Count
    fingerprint: Name
    checkpoint: Name
    created: Seconds
    updated: Seconds
    languages: Json[Annotated[dict[Tag, Language], Field(min_length=1), BeforeValidator(_are_few)]]
    geometry: Json[Geometry]
    forgotten: Annotated[int, Field(ge=0, le=2**53)] = 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of the tensors that each language has."""
        return VECTORS if self.format_version == "1" else (*VECTORS, *MATRICES)

    @model_validator(mode="after")
    def _cosines_fit(self) -> "Metadata":
        count = len(self.languages)
        for name in ("cosines_before", "cosines_after"):
            rows: list[list[float]] = getattr(self.geometry, name)
            if [len(row) for row in rows] != [count] * count:
                raise ValueError(f"geometry.{name} should be {count} × {count}, a row and a column for each language")
        if self.geometry.weights and self.geometry.weights.keys() != self.languages.keys():
            raise ValueError("geometry.weights should have one for each language, or none")  # as of older releases
        return self


def dump(fields: Mapping[bytes, bytes], pairs: Mapping[bytes, bytes]) -> bytes:
    """The file of a direction.

    :param fields: the direction's hash, whole.
    :param pairs: what it remembers, as Redis holds it.
    """
    metadata = {name: fields[name.encode()].decode() for name in FIELDS}
    if b"cosines" in fields:  # as in `directions.py`
        metadata["geometry"] = json.dumps(_with_cosines(metadata, fields[b"cosines"]))
    metadata["forgotten"] = fields.get(b"forgotten", b"0").decode()
    tags = list(json.loads(metadata["languages"]))
    tensors = {
        f"{kind}/{tag}": np.frombuffer(fields[f"{kind}:{tag}".encode()], dtype="<f4")
        for tag in tags
        for kind in VECTORS
    }
    for tag, known in by_language(pairs, tags).items():
        tensors[f"pairs/{tag}"] = np.frombuffer(known["hash"].tobytes(), np.uint8).reshape(-1, HASH_BYTES)
        tensors[f"stakes/{tag}"] = np.stack([known["samples"], known["amount"]], axis=1).astype("<f8")
    return save(tensors, {"format_version": FORMAT_VERSION, **metadata})


def _with_cosines(metadata: Mapping[str, str], cosines: bytes) -> dict[str, Any]:
    before, after = cosines_of(cosines, len(json.loads(metadata["languages"])))
    return {**json.loads(metadata["geometry"]), "cosines_before": before, "cosines_after": after}


def parse(data: bytes, dims: Mapping[str, int]) -> tuple[dict[str, str | bytes], dict[str, bytes]]:
    """The inverse of `dump`: the direction's hash, and what it remembers.

    :param dims: the lengths of gradients, by fingerprint, as far as they are known.
    :raises Unprocessable: the file is not one of a direction; every fault is named.
    """
    tensors = _tensors(data)
    metadata = _metadata(data)
    if faults := list(islice(_faults(tensors, metadata, dims), MAX_FAULTS)):
        raise _unprocessable(faults)
    values = metadata.model_dump()
    geometry = values["geometry"]
    cosines = held_cosines(geometry.pop("cosines_before"), geometry.pop("cosines_after"))
    known = {tag: _known(tensors, tag) for tag in metadata.languages} if metadata.kinds != VECTORS else {}
    pairs, tables = remembered_fields(known)
    vectors = {name: tensor for name, tensor in tensors.items() if name.partition("/")[0] in VECTORS}
    return {
        "version": str(metadata.version),
        "fingerprint": metadata.fingerprint,
        "checkpoint": metadata.checkpoint,
        "created": repr(metadata.created),
        "updated": repr(metadata.updated),
        "languages": json.dumps(values["languages"]),
        "geometry": json.dumps(geometry),
        "cosines": cosines,
        "tables": dumped(tables),
        "forgotten": str(metadata.forgotten),
        **{name.replace("/", ":", 1): bytes(tensor["data"]) for name, tensor in vectors.items()},
    }, pairs


def _known(tensors: Mapping[str, Mapping[str, Any]], tag: str) -> np.ndarray:
    """The pairs of a language: `PAIR` ``[m]``."""
    stakes = np.frombuffer(tensors[f"stakes/{tag}"]["data"], "<f8").reshape(-1, 2)
    pairs = np.zeros(len(stakes), PAIR)
    pairs["hash"] = np.frombuffer(tensors[f"pairs/{tag}"]["data"], PAIR["hash"])
    pairs["samples"], pairs["amount"] = stakes.T
    return pairs


def _tensors(data: bytes) -> dict[str, dict[str, Any]]:
    """Name to dtype, shape and data (little-endian)."""
    length = int.from_bytes(data[:8], "little")
    if values(data[8 : 8 + length]) > MAX_HEADER_VALUES:  # each tensor takes time
        raise _unprocessable([f"the header names more tensors than {wire.MAX_LANGUAGES} languages have"])
    try:
        return dict(deserialize(data))  # type: ignore[no-untyped-call] # its stub has no annotations
    except SafetensorError as error:
        raise _unprocessable([f"the body is not a safetensors file: {error}"]) from None


def _metadata(data: bytes) -> Metadata:
    # The library reads metadata from paths only. It has checked this header: a length of 8 bytes, then JSON.
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    try:
        return Metadata.model_validate(header.get("__metadata__", {}))
    except ValidationError as error:
        raise _unprocessable([_fault(fault["loc"], fault["msg"]) for fault in error.errors()]) from None


def _fault(loc: Sequence[str | int], message: str) -> str:
    return f"{'.'.join(['metadata', *map(str, loc)])}: {message.removeprefix('Value error, ')}"


def _faults(tensors: Mapping[str, Mapping[str, Any]], metadata: Metadata, dims: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with the vectors, given the languages that there should be."""
    tags = list(metadata.languages)
    wanted = {f"{kind}/{tag}" for tag in tags for kind in metadata.kinds}
    yield from (f"tensor {name} is missing" for name in sorted(wanted - tensors.keys()))
    yield from (f"tensor {name} belongs to no language of the metadata" for name in sorted(tensors.keys() - wanted))
    for name in sorted(wanted & tensors.keys()):
        dtype, shape = tensors[name]["dtype"], tensors[name]["shape"]
        kind, _, tag = name.partition("/")
        if kind in MATRICES:
            yield from _matrix_faults(name, dtype, shape)
        elif dtype != "F32" or len(shape) != 1:
            yield f"tensor {name} should be F32 of one dimension; it is {dtype} of shape {shape}"
        elif not np.isfinite(np.frombuffer(tensors[name]["data"], dtype="<f4")).all():
            yield f"tensor {name} has numbers that are not finite"
        elif kind == "sum":
            yield from _mean_faults(name, tensors[name]["data"], metadata.languages[tag].weight)
        elif np.abs(np.frombuffer(tensors[name]["data"], dtype="<f4")).max(initial=0.0) > LARGEST_SCORE:
            yield f"tensor {name} has conflict scores that are no cosines: they should be within [-1, 1]"
    for tag, language in metadata.languages.items():
        yield from _pair_faults(tensors, tag, language.samples)
    shapes = {tag: tensors[f"sum/{tag}"]["shape"] for tag in tags if f"sum/{tag}" in tensors}
    yield from _sum_faults(shapes, metadata.fingerprint, dims)


def _mean_faults(name: str, data: bytes, weight: float) -> Iterator[str]:
    largest = float(np.abs(np.frombuffer(data, dtype="<f4")).max(initial=0.0)) / weight
    if largest > MAX_MEAN:
        yield f"tensor {name} over its weight is a mean with numbers of {largest:.1e}; {MAX_MEAN:.0e} at most are taken"


def _matrix_faults(name: str, dtype: str, shape: Sequence[int]) -> Iterator[str]:
    wanted, columns = MATRICES[name.partition("/")[0]]
    if dtype != wanted or len(shape) != 2 or shape[1] != columns:
        yield f"tensor {name} should be {wanted} of shape [pairs, {columns}]; it is {dtype} of shape {shape}"


def _pair_faults(tensors: Mapping[str, Mapping[str, Any]], tag: str, samples: int) -> Iterator[str]:
    """What is wrong with the pairs of a language, where they have the right form."""
    pairs, stakes = (tensors.get(f"{kind}/{tag}") for kind in MATRICES)
    if pairs is None or stakes is None or any(_matrix_faults("pairs/", pairs["dtype"], pairs["shape"])):
        return
    if any(_matrix_faults("stakes/", stakes["dtype"], stakes["shape"])):
        return
    if pairs["shape"][0] != stakes["shape"][0]:
        yield f"tensors pairs/{tag} and stakes/{tag} should have as many rows"
        return
    since, amounts = np.frombuffer(stakes["data"], "<f8").reshape(-1, 2).T
    if not (np.isfinite(amounts) & (amounts > 0) & (amounts <= 2**53)).all():
        yield f"tensor stakes/{tag} should have amounts above 0, and of 2^53 at most, in its second column"
    if not ((since >= 1) & (since <= samples) & (since == np.floor(since))).all():
        yield f"tensor stakes/{tag} should have whole numbers from 1 to {samples} in its first column"
    hashes = np.frombuffer(pairs["data"], "<u8").reshape(-1, 2)
    if len(np.unique(hashes, axis=0)) < len(hashes):
        yield f"tensor pairs/{tag} has a pair twice"


def _sum_faults(shapes: Mapping[str, Sequence[int]], fingerprint: str, dims: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with the shapes of the sums, by language."""
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        yield f"the tensors sum/LANGUAGE should have one shape; they have {shapes}"
    if [0] in shapes.values():
        yield "the tensors sum/LANGUAGE should not be empty"
    lengths = {shape[0] for shape in shapes.values() if len(shape) == 1}
    dim = dims.get(fingerprint)
    if dim is not None and (others := lengths - {0, dim}):
        held = ", ".join(map(str, sorted(others)))
        yield f"the tensors sum/LANGUAGE have {held} numbers; the gradients of checkpoint {fingerprint} have {dim}"


def _unprocessable(faults: Sequence[str]) -> Unprocessable:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Unprocessable(faults[0] + more, [wire.ProblemError(pointer="", detail=fault) for fault in faults])
