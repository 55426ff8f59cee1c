"""Which tests run in one process, and in which order, where `make test` has several of them.

A stack or a browser takes seconds to start, and is a fixture of the session or of a module. Tests that share one go to
one process, which so starts it once. The stack that most of them use is worth a start in each process: all in one, they
would be at work when all others have long ended. They come first: the many small ones then fill whatever is left.
"""

import pytest

SHARED = ("watched", "kto_stack")
"""Stacks of the session whose tests are too few for a second start."""

STACK = "stack"
"""The one whose tests go to all processes, module by module; a Redis and a small model are there in no time."""

LONG = ("tests/chaos/", "tests/e2e/", "tests/test_docs.py", "tests/")
"""What takes longest comes first."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what belongs together, and puts what takes long first."""
    # pytest-xdist 3.8 tells its scheduler of a group by an attribute that pytest 9.2 has no more, and nobody says so.
    assert all(hasattr(item, "_nodeid") for item in items), "this pytest-xdist groups nothing under this pytest"
    for item in items:
        if (group := _group(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: next(place for place, path in enumerate(LONG) if item.nodeid.startswith(path)))


def _group(item: pytest.Item) -> str | None:
    """The stack that a test shares with those of other modules, or the module whose fixtures it shares."""
    assert isinstance(item, pytest.Function)
    scopes = {name: found[-1].scope for name, found in item._fixtureinfo.name2fixturedefs.items()}
    for name in SHARED:
        if scopes.get(name) == "session":
            return name
    return item.nodeid.partition("::")[0] if "module" in scopes.values() or STACK in scopes else None
