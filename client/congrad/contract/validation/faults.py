"""What pydantic finds wrong, told in the names of the data that it was given, and without its own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Path = list[str | int]
Fault = Mapping[str, Any]

WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "model_attributes_type": "should be a valid dictionary",
    "union_tag_invalid": "{discriminator} should be one of {expected_tags}; it is {tag!r}",
    "union_tag_not_found": "{discriminator} is missing",
}
"""In place of pydantic's messages, by the type of a fault; in braces what it knows of it."""

_SUBJECT = re.compile(r"^(Input|String|List|Dictionary|Value) should ")
_MEASURED = re.compile(r" after validation, not (\d+)$")


def path_in(data: Any, loc: Sequence[str | int]) -> Path:
    """The place of a fault: ``loc`` without the members of unions and the validators that pydantic puts between the
    names of the data."""
    path: Path = []
    value = data
    for position, part in enumerate(loc):
        if isinstance(value, dict):
            known = part in value
        else:
            known = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if known:
            value = value[part]
        elif not (isinstance(value, dict) and position == len(loc) - 1):  # a missing field is named all the same
            continue
        path.append(part)
    return path


def told(faults: Iterable[Fault]) -> list[Fault]:
    """The faults without those that say no more than another one: what may be given or not is wrong as what it should
    be, and then once more as it is not left out either."""
    return [fault for fault in faults if fault["type"] != "none_required"]


def message_of(fault: Fault) -> str:
    """What is wrong there, as the end of a sentence that begins with the place."""
    message: str = fault["msg"]
    if fault["type"] in WORDS:
        message = WORDS[fault["type"]].format(**fault.get("ctx", {}))
    message = _SUBJECT.sub("should ", message.removeprefix("Value error, "))
    if isinstance(fault.get("input"), str):  # pydantic counts the items of whatever has a length
        message = message.replace(" item", " character")
    return _MEASURED.sub(r"; it has \1", message)
