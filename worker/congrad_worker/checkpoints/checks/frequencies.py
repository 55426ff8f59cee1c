"""Rotary frequencies that depend on the longest row of a batch, and so on what a pair is computed beside."""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PretrainedConfig


def thresholds(config: PretrainedConfig) -> set[int]:
    """Lengths beyond which a model takes other frequencies for all tokens of a batch: LongRoPE's, as Phi 3's.

    Rows on either side of one may not be in one batch. A pair whose sequences are on either side is computed with the
    longer one's frequencies, as it is in training, where its two rows are one batch.
    """
    return {int(_original(config, rope)) for rope in _ropes(config) if rope.get("rope_type") == "longrope"}


def limit(config: PretrainedConfig) -> int | None:
    """The length beyond which frequencies depend on the lengths of all rows so far, and nothing is right: that of
    dynamic NTK scaling. None where there is no such length."""
    limits = [int(_original(config, rope)) for rope in _ropes(config) if rope.get("rope_type") == "dynamic"]
    return min(limits, default=None)


def _ropes(config: PretrainedConfig) -> Iterator[Mapping[str, Any]]:
    """The parameters of a model's rotary positions: one dictionary, or one for each type of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    yield from [found] if "rope_type" in found else [rope for rope in found.values() if isinstance(rope, dict)]


def _original(config: PretrainedConfig, rope: Mapping[str, Any]) -> int:
    length = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return int(length or config.max_position_embeddings)
