"""What a job asks of its direction."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from congrad.contract import wire

from congrad_worker.decisions.direction import Samples, Stake
from congrad_worker.decisions.memory import Memory, Pairs
from congrad_worker.decisions.rows.products import Products


@dataclass(frozen=True)
class Earlier:
    """What the samples of a job that is scored again were when it was folded in: their stakes by language, and the
    places of those that were not folded in, as the direction had their pairs already."""

    stakes: Mapping[str, Stake]
    repeated: Sequence[int] = ()


@dataclass(frozen=True)
class Question:
    """A job's samples: their ids, their gradients, whether completions were cut, and the hashes of their pairs; which
    of them to keep; whether they are folded in, and a pair that the direction has already no second time (``once``).

    ``earlier`` is there where they are scored again after an earlier job has folded them in, and ``memory`` is what the
    direction remembers of their pairs. ``heard`` are the languages that make the direction, None for all of them; no
    others are with an update. ``products`` are those of the samples with the languages of the direction as it is, where
    they are known; the gradients are then not looked at. ``ratios`` are those of the lengths of their answers, None
    where there is none.
    """

    ids: Sequence[str]
    samples: Samples
    truncated: Sequence[bool]
    selection: wire.ThresholdSelection | wire.FractionSelection
    update: bool
    pairs: Pairs
    once: bool = True
    earlier: Earlier | None = None
    memory: Memory = field(default_factory=Memory)
    ratios: Sequence[float | None] | None = None
    heard: Set[str] | None = None
    products: Products | None = None
