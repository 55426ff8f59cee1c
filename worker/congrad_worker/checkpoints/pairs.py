"""One sample as token ids, and the parts of it that need to be computed once only."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import takewhile
from typing import Any


@dataclass(frozen=True)
class Spans:
    """The parts of a pair, in tokens: what both sequences begin with, and what is left of either completion."""

    trunk: int
    chosen: int
    rejected: int

    @property
    def total(self) -> int:
        """Tokens of the pair, each counted once."""
        return self.trunk + self.chosen + self.rejected

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return self.trunk + max(self.chosen, self.rejected)


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of one sample, cut to the maximum length.

    A prompt with its one completion is a pair whose rejected completion has no tokens; or, where its label says that it
    is not wanted, whose chosen one has none.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    truncated: bool
    ref_logps: tuple[float, float] | None = None
    """log π_ref of chosen and of rejected in nats, where the sample brought them along."""

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def is_tie(self) -> bool:
        """Whether the model cannot tell the two completions apart. That of an only completion is where it has no tokens
        itself."""
        return self.chosen_ids == self.rejected_ids

    @property
    def digest(self) -> bytes:
        """16 bytes that tell pairs apart by all that a gradient depends on."""
        hashed = blake2b(digest_size=16)
        for ids in (self.prompt_ids, self.chosen_ids, self.rejected_ids):
            hashed.update(struct.pack(f"<q{len(ids)}q", len(ids), *ids))
        if self.ref_logps is not None:
            hashed.update(struct.pack("<2d", *self.ref_logps))
        return hashed.digest()

    @cached_property  # looked at when pairs are sorted, cut into batches, collated and counted
    def spans(self) -> Spans:
        """The trunk is the prompt and what both completions begin with."""
        shared = common_prefix(self.chosen_ids, self.rejected_ids)
        return Spans(len(self.prompt_ids) + shared, len(self.chosen_ids) - shared, len(self.rejected_ids) - shared)


def common_prefix(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many elements both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
