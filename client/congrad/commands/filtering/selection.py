"""Which pairs to keep, as options say it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import typer
from pydantic import ValidationError

from congrad.contract import wire

Selection = wire.ThresholdSelection | wire.FractionSelection


class Kind(StrEnum):
    """How pairs are selected."""

    THRESHOLD = "threshold"
    FRACTION = "fraction"


Unit = Literal["language", "language-length", "request", "stream"]


class Within(StrEnum):
    """What a kept fraction is taken of."""

    LANGUAGE = "language"
    LENGTH = "length"
    REQUEST = "request"
    STREAM = "stream"

    @property
    def as_requested(self) -> Unit:
        """In the words of a request."""
        return REQUESTED[self]

    @classmethod
    def of(cls, selection: wire.FractionSelection) -> "Within":
        """As an option says it."""
        return cls.LENGTH if selection.within == "language-length" else cls(selection.within)


REQUESTED: Mapping[Within, Unit] = {
    Within.LANGUAGE: "language",
    Within.LENGTH: "language-length",
    Within.REQUEST: "request",
    Within.STREAM: "stream",
}


def selection_of(kind: Kind | None, max_conflict: float | None, keep: float | None, within: Within | None) -> Selection:
    """What the options ask for.

    :raises typer.BadParameter: they contradict each other, or a number is none.
    """
    try:
        return _selection_of(kind, max_conflict, keep, within)
    except ValidationError as error:
        fault = error.errors()[0]
        raise typer.BadParameter(f"{fault['loc'][-1]}: {fault['msg']}") from error


def _selection_of(
    kind: Kind | None, max_conflict: float | None, keep: float | None, within: Within | None
) -> Selection:
    if kind is None:
        kind = Kind.THRESHOLD if keep is None else Kind.FRACTION
    if kind is Kind.FRACTION:
        if keep is None:
            raise typer.BadParameter("a fraction needs --keep, such as --keep 0.6")
        if max_conflict is not None:
            raise typer.BadParameter("--max-conflict is a threshold, and --keep a fraction: give one of them")
        return wire.FractionSelection(kind="fraction", keep=keep, within=(within or Within.LANGUAGE).as_requested)
    if keep is not None or within is not None:
        raise typer.BadParameter("--keep and --within belong to --selection fraction, such as --keep 0.6")
    return wire.ThresholdSelection(max_conflict=max_conflict or 0.0)
