"""Which pairs to keep, as options say it."""

from enum import StrEnum

import typer
from pydantic import ValidationError

from congrad.contract import wire

Selection = wire.ThresholdSelection | wire.FractionSelection


class Kind(StrEnum):
    """How pairs are selected."""

    THRESHOLD = "threshold"
    FRACTION = "fraction"


class Within(StrEnum):
    """What a kept fraction is taken of."""

    LANGUAGE = "language"
    REQUEST = "request"
    STREAM = "stream"


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
        return wire.FractionSelection(kind="fraction", keep=keep, within=(within or Within.LANGUAGE).value)
    if keep is not None or within is not None:
        raise typer.BadParameter("--keep and --within belong to --selection fraction, such as --keep 0.6")
    return wire.ThresholdSelection(max_conflict=max_conflict or 0.0)
