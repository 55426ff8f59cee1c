"""What is set for the memory of a GPU, and what is left alone."""

import pytest
from congrad_worker.processes.allocator import NAMES, let_blocks_grow


def test_blocks_of_a_gpus_memory_may_grow() -> None:
    environment: dict[str, str] = {}
    let_blocks_grow(environment)
    assert environment == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_set_for_the_allocator_under_any_of_its_names_is_left_alone(name: str) -> None:
    """PyTorch takes `PYTORCH_ALLOC_CONF` before the names that it had earlier, which most people use."""
    environment = {name: "max_split_size_mb:128"}
    let_blocks_grow(environment)
    assert environment == {name: "max_split_size_mb:128"}
