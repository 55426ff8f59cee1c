"""The time that gradients take, without gradients."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from congrad.contract import wire
from congrad_worker.activity import Activity
from congrad_worker.gradients.compressed import Gradients

from benchmarks.waiting_worker.settings import WaitingSettings

ROWS = 256
"""Gradients that are made when the worker starts, and handed out in turns."""


@dataclass(frozen=True)
class WaitingPair:
    """A pair of which nothing is known, but that it is no other."""

    truncated: bool = False
    digest: bytes = field(default_factory=lambda: os.urandom(16))


class WaitingEncoder:
    """In the place of `congrad_worker.checkpoints.encoding.Encoder`; does not tokenise."""

    def __init__(self, settings: WaitingSettings):
        self._by_content = settings.by_content

    def encode(self, sample: wire.AnySample) -> WaitingPair:
        """A pair: another each time, or what its prompt makes it."""
        if not self._by_content:
            return WaitingPair()
        return WaitingPair(digest=hashlib.blake2b(str(sample.prompt).encode(), digest_size=16).digest())


class WaitingEngine:
    """In the place of `GradientEngine`: random gradients, after as long as a GPU would take.

    What the host does meanwhile is part of that time, as it is where a GPU computes beside it.
    """

    def __init__(self, settings: WaitingSettings):
        self.projection = SimpleNamespace(dim=settings.dim)
        self.loss = SimpleNamespace(name="sigmoid")
        self.activity = Activity()
        self.batch_tokens = settings.batch_tokens
        self._pair_ms = settings.pair_ms_file
        self._at_once = settings.at_once
        self._rows = np.random.default_rng(0).standard_normal((ROWS, settings.dim), dtype=np.float32)
        self._next = 0
        self._by_content = settings.by_content

    def seen(self, pair: WaitingPair) -> WaitingPair:
        """The pair as it is."""
        return pair

    def _of(self, digest: bytes) -> np.ndarray:
        """What belongs to a pair: two of the rows, so that next to no two pairs have the same."""
        first, second = digest[0], digest[1]
        row: np.ndarray = self._rows[first] + self._rows[second] * (digest[2] / 256)
        return row

    def compute(self, pairs: Sequence[WaitingPair], go_on: Callable[[], object] = lambda: None) -> Gradients:
        """float32 ``[pairs, D]``, as one micro-batch."""
        go_on()
        steps = math.ceil(len(pairs) / self._at_once)
        end = time.monotonic() + float(self._pair_ms.read_text()) / 1e3 * steps
        if self._by_content:
            values = np.stack([self._of(pair.digest) for pair in pairs])
        else:
            values = self._rows[(self._next + np.arange(len(pairs))) % ROWS]
        self._next += len(pairs)
        time.sleep(max(0.0, end - time.monotonic()))
        return Gradients(values, np.zeros(len(pairs), dtype=np.bool_))
