"""How much the fuzz suites do: the same few examples each time in `make test`, many new ones in `make fuzz`."""

import os
from typing import Any

from hypothesis import settings

FACTOR = int(os.environ.get("FUZZ_FACTOR", "0"))
"""How many times as many examples, drawn from pytest's ``--hypothesis-seed``; 0 is the same examples each time."""


def examples(count: int, **options: Any) -> settings:
    """The settings of a test that tries ``count`` examples in `make test`. None is kept: a failure prints its own."""
    return settings(
        max_examples=count * max(FACTOR, 1),
        derandomize=FACTOR == 0,
        deadline=None,  # other tests' processes share the cores
        database=None,
        print_blob=True,
        **options,
    )
