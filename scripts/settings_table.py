"""Writes the tables of settings in docs/operations.md from the classes that read them.

    python scripts/settings_table.py

Each part of the page between ``<!-- settings of NAME -->`` and ``<!-- end -->`` is written anew.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from congrad_service.settings import RedisSettings, ServiceSettings
from congrad_worker.settings import DecideSettings, GradientSettings, WorkerSettings
from pydantic_settings import BaseSettings

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
TABLE = re.compile(r"(?<=<!-- settings of )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
CLASSES: dict[str, type[BaseSettings]] = {
    "all": RedisSettings,
    "service": ServiceSettings,
    "workers": WorkerSettings,
    "gradients": GradientSettings,
    "decide": DecideSettings,
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def rendered(page: str) -> str:
    """The page with the tables as the classes are now."""
    return TABLE.sub(lambda found: f"{found[1]}{found[2]}\n{table(found[1])}\n\n", page)


def table(name: str) -> str:
    """The settings of a part of the stack, without those that it shares with others."""
    own = CLASSES[name]
    shared = {field for other in CLASSES.values() if other in own.__mro__[1:] for field in other.model_fields}
    schema = own.model_json_schema()["properties"]
    rows = [_row(field, about) for field, about in schema.items() if field not in shared]
    return "\n".join(["| setting | default | values | |", "|---|---|---|---|", *rows])


def _row(field: str, about: dict[str, Any]) -> str:
    meaning = " ".join(about["description"].split()).replace("``", "`").replace("|", r"\|")
    return f"| `CONGRAD_{field.upper()}` | {_default(about)} | {', '.join(_values(about))} | {meaning} |"


def _default(about: dict[str, Any]) -> str:
    if "default" not in about:
        return "needed"
    value = about["default"]
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else _number(value)}`"


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _values(about: dict[str, Any]) -> Iterator[str]:
    """What a value may be, as far as its type says."""
    kind = next((of for of in about.get("anyOf", ()) if of["type"] != "null"), about)
    if "enum" in kind:
        yield from (f"`{value}`" for value in kind["enum"])
    elif kind["type"] == "array":
        yield "numbers, with commas"
        kind = kind["items"]
    elif kind["type"] != "string":
        yield {"boolean": "`true`, `false`"}.get(kind["type"], kind["type"])
    yield from (f"{sign} {_number(kind[bound])}" for bound, sign in BOUNDS.items() if bound in kind)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
