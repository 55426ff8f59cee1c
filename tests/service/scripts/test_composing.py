"""Scripts are put together from files."""

import re
from pathlib import Path

import pytest
import redis
from congrad_service import scripts

LUA = Path(scripts.__file__).parent / "lua"
KEYWORDS = {"and", "function", "if", "not", "or", "return"}
LIBRARY = {"ipairs", "pairs", "tonumber", "tostring", "type", "unpack"}
TEXTS = {name: text for name, text in vars(scripts).items() if name.isupper()}


@pytest.mark.parametrize("name", TEXTS)
def test_redis_takes_it(name: str, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.script_load(TEXTS[name])


def test_every_file_is_a_script_or_part_of_one() -> None:
    assert {path.stem.upper() for path in LUA.glob("*.lua")} == TEXTS.keys()
    included = {one for path in LUA.glob("*.lua") for one in _included(path)}
    assert included == {path.stem for path in (LUA / "functions").glob("*.lua")}


@pytest.mark.parametrize("name", TEXTS)
def test_what_it_calls_by_name_is_there(name: str) -> None:
    """Lua finds out when it gets there."""
    code = re.sub(r"--.*|'[^'\n]*'", "", TEXTS[name])
    given = {"KEYS", "ARGV", *re.findall(r"^local ([A-Z_]+) =", code, re.MULTILINE)}
    assert set(re.findall(r"\b[A-Z][A-Z_]+\b", code)) <= given
    calls = set(re.findall(r"(?<![\w.:])([a-z_]+)\(", code))
    language = {
        "if",
        "and",
        "or",
        "not",
        "return",
        "function",
        "ipairs",
        "pairs",
        "tonumber",
        "tostring",
        "type",
        "unpack",
    }
    assert calls - language <= set(re.findall(r"local function ([a-z_]+)\(", code))


def _included(path: Path) -> list[str]:
    found = re.match(r"-- include: (.+)\n", path.read_text())
    return found[1].split(", ") if found else []
