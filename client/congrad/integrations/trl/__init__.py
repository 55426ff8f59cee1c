"""TRL: a dataset of preference pairs, filtered before a `DPOTrainer` sees it, or of prompts with their completions,
before an `SFTTrainer` does, or with labels a `KTOTrainer`; and a dataset that is scored again while the trainer runs.

with congrad.Client() as client:
    kept = filter_dataset(dataset, client, drop=True)
"""

from typing import TYPE_CHECKING, Any

from congrad.integrations.trl.filtering import filter_dataset, filter_rows, to_sample

if TYPE_CHECKING:
    from congrad.integrations.trl.callback import FilterCallback

__all__ = ["FilterCallback", "filter_dataset", "filter_rows", "to_sample"]


def __getattr__(name: str) -> Any:
    if name != "FilterCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from congrad.integrations.trl.callback import FilterCallback  # it imports torch, which the others do without

    return FilterCallback
