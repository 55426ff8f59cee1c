"""The parts of rows that attention computes together: of each pair ``trunk | chosen``, and ``rejected`` with the trunk
before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import Spans


@dataclass(frozen=True)
class Segment:
    """Neighbouring tokens of a row that attend to a trunk, and causally to themselves.

    Their positions are those that follow the trunk's, which are counted from 0.
    """

    row: int
    start: int  # the column of the first token
    length: int
    trunk_start: int
    trunk: int  # tokens of the trunk; 0 where all that is attended to is in the segment

    @property
    def columns(self) -> slice:
        """Where it stands in its row."""
        return slice(self.start, self.start + self.length)

    @property
    def trunk_columns(self) -> slice:
        """Where its trunk stands in the same row."""
        return slice(self.trunk_start, self.trunk_start + self.trunk)

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and keys."""
        return self.length, self.trunk + self.length


def segments_of(spans: Sequence[Spans], places: Sequence[tuple[int, int]]) -> tuple[Segment, ...]:
    """The segments of pairs that begin at some places: row and column of each."""
    found = []
    for s, (row, start) in zip(spans, places, strict=True):
        first = s.trunk + s.chosen
        found.append(Segment(row, start, first, start, 0))
        found.append(Segment(row, start + first, s.rejected, start, s.trunk))
    return tuple(segment for segment in found if segment.length)


def split(rows: Tensor, segments: tuple[Segment, ...], with_trunk: bool) -> tuple[Tensor, ...]:
    """``[rows, heads, tokens, d]`` to ``[1, heads, part, d]`` for each segment.

    :param with_trunk: whether each is to have its trunk before it, as keys and values have.
    """
    parts: tuple[Tensor, ...] = _Split.apply(rows, segments, with_trunk)
    return parts


def join(parts: Sequence[Tensor], segments: tuple[Segment, ...], rows: int, tokens: int) -> Tensor:
    """What attention puts out of each segment, ``[1, part, heads, d]``, in rows: ``[rows, tokens, heads, d]``, zero in
    what is of no segment."""
    joined: Tensor = _Join.apply(segments, rows, tokens, *parts)
    return joined


class _Split(torch.autograd.Function):
    """Autograd's own slices would each give the backward pass a tensor of the whole batch."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, segments: tuple[Segment, ...], with_trunk: bool) -> tuple[Tensor, ...]:
        ctx.segments, ctx.with_trunk, ctx.shape = segments, with_trunk, rows.shape
        parts = []
        for s in segments:
            row = rows[s.row : s.row + 1]
            part = row[:, :, s.columns]
            parts.append(torch.cat((row[:, :, s.trunk_columns], part), 2) if with_trunk and s.trunk else part)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        count, heads, tokens, size = ctx.shape
        # Where it was, heads are next to features: the model's own view of it is then no copy.
        rows = _new_rows(gradients[0], ctx.segments, (count, tokens, heads, size)).transpose(1, 2)
        for s, gradient in zip(ctx.segments, gradients, strict=True):  # a trunk stands in a segment before
            row = rows[s.row : s.row + 1]
            own = gradient[:, :, gradient.shape[2] - s.length :]
            row[:, :, s.columns] = own
            if ctx.with_trunk and s.trunk:
                row[:, :, s.trunk_columns] += gradient[:, :, : s.trunk]
        return rows, None, None


class _Join(torch.autograd.Function):
    """The inverse of `_Split`."""

    @staticmethod
    def forward(ctx: Any, segments: tuple[Segment, ...], count: int, tokens: int, *parts: Tensor) -> Tensor:
        ctx.segments = segments
        rows = _new_rows(parts[0], segments, (count, tokens, *parts[0].shape[2:]))
        for place, part in zip(_places(rows, segments), parts, strict=True):
            place.copy_(part)
        return rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *_places(gradient, ctx.segments)


def _places(rows: Tensor, segments: Sequence[Segment]) -> Iterator[Tensor]:
    """Of rows ``[rows, tokens, ...]`` each segment, ``[1, part, ...]``."""
    for s in segments:
        yield rows[s.row : s.row + 1, s.columns]


def _new_rows(like: Tensor, segments: Sequence[Segment], shape: tuple[int, ...]) -> Tensor:
    """Rows to be filled with all segments; the first two dimensions are rows and tokens."""
    is_filled = sum(s.length for s in segments) == shape[0] * shape[1]
    return like.new_empty(shape) if is_filled else like.new_zeros(shape)
