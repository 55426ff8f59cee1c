"""What a worker reads from Redis of jobs and leaves there, as values: chunks, and what is known of them."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from congrad.contract import wire
from congrad_service import keys
from pydantic import ConfigDict, TypeAdapter
from safetensors.numpy import save

from congrad_worker.decisions.direction import Samples, Stake
from congrad_worker.decisions.rows.products import Products
from congrad_worker.tasks.states import Mark
from congrad_worker.tensors import views

SAMPLES = TypeAdapter(list[wire.AnySample], config=ConfigDict(hide_input_in_errors=True))
SELECTION: TypeAdapter[wire.Selection] = TypeAdapter(wire.Selection)


@dataclass(frozen=True)
class ChunkResult:
    """What a gradients task leaves for `decide`: gradients, or the samples that could not be encoded.

    ``pairs`` are the hashes of what was scored, and ``ratios`` those of the lengths of both answers; None where there
    are none, as in what an earlier release left.
    """

    ids: list[str]
    samples: Samples
    truncated: list[bool]
    errors: list[tuple[int, str]]  # position in the chunk, and what is wrong
    pairs: list[bytes | None] | None = None
    ratios: list[float | None] | None = None

    def dump(self, bits: int = 16) -> bytes:
        """As safetensors, with the rest as JSON beside the arrays.

        :param bits: of a number; with 8 each row has a scale.
        """
        units = {"units": self.samples.units} if bits == 16 else _in_bytes(self.samples.units)
        return save({**units, "norms": self.samples.norms, "rest": _text(self._rest)})

    @property
    def _rest(self) -> dict[str, object]:
        """What is no array."""
        return {
            "ids": self.ids,
            "languages": self.samples.languages,
            "truncated": self.truncated,
            "errors": self.errors,
            "pairs": None if self.pairs is None else [None if pair is None else pair.hex() for pair in self.pairs],
            "ratios": self.ratios,
        }

    @classmethod
    def parse(cls, data: bytes | memoryview) -> "ChunkResult":
        """The inverse of `dump`; its arrays are views of the data."""
        arrays = views(data)
        units = arrays["units"]
        if "scales" in arrays:
            units = (units * arrays["scales"][:, None]).astype(np.float16)
        return cls._of(units, arrays["norms"], json.loads(arrays["rest"].tobytes()))

    @classmethod
    def _of(cls, units: np.ndarray, norms: np.ndarray, rest: dict[str, Any]) -> "ChunkResult":
        return cls(
            ids=rest["ids"],
            samples=Samples(units, norms, rest["languages"]),
            truncated=rest["truncated"],
            errors=[(int(index), str(detail)) for index, detail in rest["errors"]],
            pairs=(pairs := rest.get("pairs")) and [pair and bytes.fromhex(pair) for pair in pairs],
            ratios=rest.get("ratios"),
        )


@dataclass(frozen=True)
class Measured:
    """What a job's samples are to one version of a direction: all that another question about them needs. ``chunk`` has
    no gradients."""

    chunk: ChunkResult
    products: Products

    def dump(self) -> bytes:
        """As safetensors, with the rest as JSON beside the arrays."""
        own, found = self.chunk, self.products
        rest = own._rest | {"tags": found.tags, "dim": own.samples.dim}
        arrays = {"dots": found.dots, "squares": found.squares, "norms": own.samples.norms}
        return save({name: np.ascontiguousarray(array) for name, array in arrays.items()} | {"rest": _text(rest)})

    @classmethod
    def parse(cls, data: bytes) -> "Measured":
        """The inverse of `dump`; likewise."""
        arrays = views(data)
        rest = json.loads(arrays["rest"].tobytes())
        none = np.zeros((0, rest["dim"]), np.float16)
        found = Products(rest["tags"], arrays["dots"], arrays["squares"])
        return cls(ChunkResult._of(none, arrays["norms"], rest), found)


def _text(rest: dict[str, object]) -> np.ndarray:
    return np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)


def _in_bytes(units: np.ndarray) -> dict[str, np.ndarray]:
    """Rows as int8 ``[n, D]``, and what each is a multiple of, float32 ``[n]``: the largest number is 127 of these."""
    largest = np.abs(units).max(axis=1, initial=0).astype(np.float32)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return {"units": np.rint(units / scales[:, None]).astype(np.int8), "scales": scales}


@dataclass(frozen=True)
class Standing:
    """The stakes of a job's samples by language, in the life of the direction that has this epoch, and the places of
    those that were not folded in, as it had their pairs already."""

    epoch: str
    stakes: dict[str, Stake]
    repeated: list[int]

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> "Standing":
        """The inverse of `dump`."""
        raw = json.loads(text)
        stakes = {tag: Stake(**stake) for tag, stake in raw["stakes"].items()}
        return cls(raw["epoch"], stakes, raw.get("repeated", []))


@dataclass(frozen=True)
class JobRecord:
    """What a job asks, and its times (seconds, by Redis's clock).

    ``once``, ``half_life`` and ``aggregator`` are as in `wire.FilterRequest`; ``heard`` are the languages of the
    direction that are, None for all. ``source`` is the job whose gradients are
    scored again, with ``source_chunks`` and its ``standing``; None where the job has gradients of its own. ``retain``
    keeps the gradients, whosever they are.
    """

    id: str
    status: wire.JobStatus
    direction: str
    update: bool
    selection: wire.ThresholdSelection | wire.FractionSelection
    fingerprint: str
    checkpoint: str
    chunks: int
    retain: bool
    once: bool
    half_life: float | None
    aggregator: str | None
    heard: frozenset[str] | None
    source: str | None
    source_chunks: int
    standing: Standing | None
    created: float
    started: float
    gradients_done: float

    @classmethod
    def of(cls, job_id: str, raw: Mapping[bytes, bytes]) -> "JobRecord":
        """From the fields of a job's hash."""
        fields = {name.decode(): value.decode() for name, value in raw.items()}
        started = float(fields.get("started", fields["created"]))
        standing = fields.get("standing")
        return cls(
            id=job_id,
            status=wire.JobStatus(fields["status"]),
            direction=fields["direction"],
            update=fields["update"] == "1",
            selection=SELECTION.validate_json(fields["selection"]),
            fingerprint=fields["fingerprint"],
            checkpoint=fields["checkpoint"],
            chunks=int(fields["chunks"]),
            retain=fields.get("retain") == "1",
            once=fields.get("repeats") != "count",
            half_life=float(half_life) if (half_life := fields.get("half_life")) else None,
            aggregator=fields.get("aggregator"),
            heard=frozenset(heard.split(",")) if (heard := fields.get("heard")) else None,
            source=fields.get("source"),
            source_chunks=int(fields.get("source_chunks", 0)),
            standing=None if standing is None else Standing.parse(standing),
            created=float(fields["created"]),
            started=started,
            gradients_done=float(fields.get("gradients_done", started)),
        )

    @property
    def gradients(self) -> list[str]:
        """The keys of the gradients that the job is about."""
        return keys.all_gradients(*self._origin)

    @property
    def texts(self) -> list[str]:
        """The keys of the samples that the job is about."""
        return keys.chunks(*self._origin)

    @property
    def _origin(self) -> tuple[str, int]:
        """The job that the gradients were computed in, and its chunks."""
        return (self.id, self.chunks) if self.source is None else (self.source, self.source_chunks)


class Origin(NamedTuple):
    """The id of the request that made a job, and its place in a trace; '' for what is not known."""

    request: str
    trace: str

    @classmethod
    def of(cls, request: bytes | None, trace: bytes | None) -> "Origin":
        """From fields of a job's hash."""
        return cls((request or b"").decode(), (trace or b"").decode())


@dataclass(frozen=True)
class StartedChunk:
    """What a worker is told as it starts a chunk. ``attempts`` counts the starts: 0 if it is not to be done, because
    the job has ended or another worker is at it, or because the gradients are there."""

    attempts: int
    is_there: bool
    origin: Origin
    text: bytes | None

    @property
    def samples(self) -> list[wire.AnySample] | None:
        """The samples, read anew each time; None once the job has ended."""
        return None if self.text is None else SAMPLES.validate_json(self.text)


@dataclass(frozen=True)
class StartedDecision:
    """What a worker is told as it starts a decision: ``attempts`` as above, and, where it is to be done, the fields of
    the job, the mark of its direction, and its gradients if they are one chunk, and small. ``clock`` is what
    Redis's is before this process's."""

    job_id: str
    attempts: int
    fields: Mapping[bytes, bytes]
    standing: Mark
    clock: float
    gradients: bytes | None

    @property
    def origin(self) -> Origin:
        """Of the job."""
        return Origin.of(self.fields.get(b"request"), self.fields.get(b"trace"))

    @cached_property
    def job(self) -> JobRecord:
        """It."""
        return JobRecord.of(self.job_id, self.fields)

    @property
    def now(self) -> float:
        """Seconds, by Redis's clock as it was at the start."""
        return self.clock + time.monotonic()
