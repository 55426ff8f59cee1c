"""What a caller of the SDK asks for by keyword, as a model of the contract: what cannot be is told in our own words.
Pydantic's name classes that the caller has never heard of."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from congrad.contract.validation.faults import message_of, path_in


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def asked(model: Any, given: Any, what: str) -> Any:
    """``given`` as a model.

    :param model: a class of the contract, or a union of several.
    :param what: the call, or its keyword, which the message begins with.
    :raises ValueError: it is none; the message names the first fault.
    """
    try:
        return _adapter(model).validate_python(given)
    except ValidationError as error:
        fault = error.errors()[0]
    place = path_in(dict(given), fault["loc"]) if isinstance(given, Mapping) else []
    raise ValueError(": ".join([what, *([".".join(map(str, place))] if place else []), message_of(fault)]))
