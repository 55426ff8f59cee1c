"""A worker's memory, what PyTorch is told of a GPU's, and Python's collector of cycles."""

import gc

import pytest
from congrad_worker.memory import ALLOCATOR_SETTINGS, let_blocks_grow, uncollected


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


def test_blocks_of_a_gpus_memory_may_grow() -> None:
    environment: dict[str, str] = {}
    let_blocks_grow(environment)
    assert environment == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize("name", ALLOCATOR_SETTINGS)
def test_what_was_set_for_the_allocator_under_any_of_its_names_is_left_alone(name: str) -> None:
    """PyTorch takes `PYTORCH_ALLOC_CONF` before the names that it had earlier, which most people use."""
    environment = {name: "max_split_size_mb:128"}
    let_blocks_grow(environment)
    assert environment == {name: "max_split_size_mb:128"}
