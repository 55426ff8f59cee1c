"""A worker's memory, and Python's collector of cycles in it."""

import gc

import pytest
from congrad_worker.memory import uncollected


def test_the_collector_rests_meanwhile_and_leaves_alone_what_was_made() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]  # type: ignore[var-annotated]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_the_collector_is_back_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
