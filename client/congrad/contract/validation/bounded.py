"""Validation whose errors have an end. Each takes a kilobyte and 30 microseconds, and one body has room for millions of
faults: who reads the answer learns no more from them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError, WrapValidator
from pydantic_core import InitErrorDetails, PydanticCustomError

MAX_FIELDS = 64
"""Fields of an object of ours, known or not; no model has half as many."""

STEP = 16
"""Items that are looked at before their errors are."""


def few_fields(data: Any) -> Any:
    """For ``model_validator(mode="before")``: each unknown field would be an error of its own."""
    if isinstance(data, dict) and len(data) > MAX_FIELDS:
        raise ValueError(f"has {len(data)} fields; there are no more than {MAX_FIELDS}")
    return data


def _by_steps(items: Any, validate: Callable[[Any], list[Any]]) -> list[Any]:
    if not isinstance(items, list):
        return validate(items)
    found = validate(items[:STEP])
    for start in range(STEP, len(items), STEP):
        try:
            found += validate(items[start : start + STEP])
        except ValidationError as error:
            raise _moved(error, start) from None
    return found


def _moved(error: ValidationError, start: int) -> ValidationError:
    """The same errors, of items that begin at ``start``."""
    details = []
    for fault in error.errors(include_url=False, include_context=False):
        index, *rest = fault["loc"]
        kind = PydanticCustomError(fault["type"], fault["msg"])
        details.append(InitErrorDetails(type=kind, loc=(int(index) + start, *rest), input=fault["input"]))
    return ValidationError.from_exception_data(error.title, details)


FirstFaults = WrapValidator(_by_steps)
"""For a list: the errors of the first `STEP` items in a row that have any."""


def has_unseen(places: Iterable[Sequence[str | int]], items: Sequence[Any]) -> bool:
    """Whether there are items behind those at fault that nobody has looked at.

    :param places: of the faults within a list of `FirstFaults`, each beginning with an index.
    """
    last = max((place[0] for place in places if place and isinstance(place[0], int)), default=None)
    return last is not None and (last // STEP + 1) * STEP < len(items)
