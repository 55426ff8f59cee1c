"""Exports of Argilla and distilabel: an instruction, several generations, and a rating of each."""

import json
import math
from typing import Any

from congrad.formats.messages import USER, messages, with_system
from congrad.formats.row_format import Roles, Row, RowFormat, Sample
from congrad.formats.verdict import TieError

PROMPTS = ("instruction", "prompt", "input", "messages")
RATINGS = ("ratings", "rating", "scores")
SYSTEMS = ("system_prompt", "system")


def listed(value: Any) -> list[Any]:
    """A list, or the JSON of one, as it lies in the cell of a CSV file."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return list(value) if isinstance(value, list | tuple) else []


def _ratings(row: Row) -> list[float]:
    given = listed(next((row[name] for name in RATINGS if row.get(name) is not None), None))
    return [math.nan if value is None else _rating(value) for value in given]


def _rating(value: Any) -> float:
    """:raises ValueError: it is no number."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"a rating is {str(value)[:40]!r}, which is no number; null is that of a generation without one"
        ) from None


def _fits(row: Row) -> bool:
    has_prompt = any(row.get(name) is not None for name in PROMPTS)
    return has_prompt and bool(listed(row.get("generations"))) and any(name in row for name in RATINGS)


def best_and_worst(generations: list[Any], ratings: list[float], *, is_rank: bool = False) -> tuple[Any, Any]:
    """The one with the highest rating and the one with the lowest, or of ranks the other way round; NaN is none.

    :raises TieError: all have the same rating.
    :raises ValueError: fewer than two have one.
    """
    rated = [i for i, rating in enumerate(ratings) if not math.isnan(rating) and generations[i] is not None]
    if len(rated) > 1 and len({ratings[i] for i in rated}) == 1:
        raise TieError(f"all its generations are rated {ratings[rated[0]]:g}, so none is preferred")
    if len(rated) < 2:
        raise ValueError("its ratings do not say that one generation is better than another")
    highest, lowest = max(rated, key=ratings.__getitem__), min(rated, key=ratings.__getitem__)
    best, worst = (lowest, highest) if is_rank else (highest, lowest)
    return generations[best], generations[worst]


def _read(row: Row, roles: Roles) -> Sample:
    """The best and the worst of the generations, as distilabel's own step takes them.

    :raises TieError: all have the same rating.
    :raises ValueError: fewer than two have one, one of them is no number, or there is no prompt.
    """
    generations, ratings = listed(row.get("generations")), _ratings(row)
    if len(generations) != len(ratings):
        raise ValueError(f"has {len(generations)} generations and {len(ratings)} ratings")
    best, worst = best_and_worst(generations, ratings)
    prompt = next((row[name] for name in PROMPTS if row.get(name) is not None), None)
    if prompt is None:
        raise ValueError(f"has no prompt: {', '.join(PROMPTS)} are null or missing")
    system = next((row[name] for name in SYSTEMS if row.get(name)), None)
    return {
        "prompt": with_system(system, messages(prompt, roles, USER)),
        "chosen": messages(best, roles),
        "rejected": messages(worst, roles),
    }


GENERATIONS = RowFormat(
    name="generations",
    title="Argilla's and distilabel's generations with ratings, the best against the worst",
    columns=(*PROMPTS, "generations", *RATINGS, *SYSTEMS),
    shape="instruction, generations, ratings",
    fits=_fits,
    read=_read,
)
