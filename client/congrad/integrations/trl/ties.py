"""Rows that prefer neither of their answers: they are not sent, and have their place among the answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from congrad.errors import APIStatusError, CongradError, InvalidSampleError

T = TypeVar("T")


def among(answers: Sequence[T], ties: Sequence[int], instead: T) -> list[T]:
    """The answers for all rows, of those for the samples among them.

    :param ties: the places of the other rows, in order.
    :param instead: the answer for each of them.
    """
    left, places = iter(answers), set(ties)
    return [instead if place in places else next(left) for place in range(len(answers) + len(places))]


@contextmanager
def told_in_rows(ties: Sequence[int]) -> Iterator[None]:
    """Errors of the block, which are about samples, are about rows after it.

    :param ties: as in `among`, once the block has ended.
    """
    try:
        yield
    except CongradError as error:
        if ties:
            if isinstance(error, InvalidSampleError):
                raise error._at(_place(error.position, ties)) from error
            error.undecided = [_place(position, ties) for position in error.undecided]
            error.decisions = among(error.decisions, ties, None) if error.decisions else error.decisions
            if isinstance(error, APIStatusError):
                error.samples = [_place(position, ties) for position in error.samples]
        raise


def _place(position: int, ties: Sequence[int]) -> int:
    """Of a sample, among the rows."""
    for tie in ties:
        position += tie <= position
    return position
