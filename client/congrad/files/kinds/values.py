"""Values of rows as JSON, and as the cells of a CSV file."""

import ast
import json
import math
import re
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from congrad.formats.fields import NESTED, STRUCTURE
from congrad.formats.messages import FROM_AND_VALUE, are_turns, is_bare_turn, is_turn

MESSAGES = ("prompt", "chosen", "rejected", "completion")
"""Fields whose cells may hold messages."""
OBJECTS = ("chat_template_kwargs",)
NUMBERS = ("ref_chosen_logps", "ref_rejected_logps")
BOOLEANS = {"label": {"true": True, "false": False}}
"""Fields whose cells may be booleans, in any case of letters; what else stands in them is text of some other use."""

PRINTED = re.compile(r"\s*\{'(role|content|from|value)':")
"""How a turn begins that Python has printed."""

TEXTS = (date, time, Decimal, timedelta)
"""What JSON has as text, for want of a form of its own; a date with its time of day is a date too."""

NO_FORM = (TypeError, ValueError, RecursionError)
"""What `encode` raises."""


def encode(value: Any) -> bytes:
    """A value as JSON. NaN becomes null: JSON has no form for it.

    :raises TypeError: JSON has no form for it, nor for anything near it.
    :raises RecursionError: it is nested too deeply.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)
    # Half of a surrogate pair has no UTF-8; the backslash form of Python is that of JSON too.
    return text.encode("utf-8", "backslashreplace")


def not_utf_8(error: UnicodeDecodeError) -> str:
    """What is wrong with a text that is in another encoding, or has been cut off, and what to do."""
    byte = error.object[error.start]
    way = f"it has the byte 0x{byte:02x} of another encoding; convert it, as with iconv -f WINDOWS-1252 -t UTF-8"
    if error.reason != "unexpected end of data":
        return way
    # Who converts a whole file on account of its end has no accent left in it.
    return f"it ends within a character, as it does where it has been cut off; or {way}"


def told(error: Exception, before: int = 0) -> str:
    """What is wrong with a JSON text, without the line, which is counted in what was parsed and not in the file.

    :param before: characters of the file before that.
    """
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    return f"{error.msg.removesuffix(' at')} at character {before + error.pos}"


def _plain(value: Any) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def cell_of(value: Any) -> str:
    """A value as a cell of a CSV file: text as it is, nothing for null, anything else as JSON. What is text in JSON for
    want of another form, such as a date, is text, and a number that JSON has not is null there.

    :raises TypeError, RecursionError: JSON has no form for it.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, TEXTS):
        return _plain(value)
    return value if isinstance(value, str) else encode(value).decode()


def value_of(field: str | None, cell: str) -> Any:
    """A cell of a CSV file, as the field of a sample that it is read for; None: for none.

    :raises ValueError: the cell cannot be that field.
    """
    if field in MESSAGES:
        return _text_or_messages(cell)
    if field == STRUCTURE:
        return _structure(cell)
    if field == NESTED:
        return _nested(cell)
    if field in OBJECTS:
        return _parsed(cell)
    if field in BOOLEANS:
        return BOOLEANS[field].get(cell.strip().lower(), cell)
    return _number(cell) if field in NUMBERS else cell


def _text_or_messages(cell: str) -> Any:
    """A list of messages in JSON; everything else is text, a list of numbers for one."""
    if not cell.lstrip().startswith(("[{", "{'")):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        if cell.lstrip().startswith("[{'") or _is_printed_turn(cell):
            kind = "list" if cell.lstrip().startswith("[") else "turn"
            raise ValueError(f"is a {kind} as Python prints it; messages should be written as JSON") from None
        return cell
    return value if all(map(_is_message, value)) else cell


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and ("role" in item or item.keys() >= FROM_AND_VALUE)


def _is_printed_turn(cell: str) -> bool:
    if PRINTED.match(cell) is None:  # an answer in code is nothing to parse: Python warns of what it holds
        return False
    try:
        value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, dict) and is_bare_turn(value)


def _structure(cell: str) -> Any:
    """Turns of a conversation, or an object with some, in JSON; everything else is text."""
    if not cell.lstrip().startswith(("[{", "{")):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if are_turns(value) or is_turn(value) or _has_turns(value) else cell


def _nested(cell: str) -> Any:
    """An object or a list in JSON, in which a path goes on; everything else is text."""
    if not cell.lstrip().startswith(("{", "[")):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _has_turns(value: Any) -> bool:
    return isinstance(value, dict) and any(map(are_turns, value.values()))


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"should be a JSON object: {error}") from None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"should be a number; it is {cell[:40]!r}") from None
