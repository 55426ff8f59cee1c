"""What of a last block is computed for whom; that gradients stay autograd's, `test_architectures` says of each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.modules import decoder_blocks
from support.architectures import save_adapter, save_random_model
from support.models import checkpoint, engine, settings
from support.properties import assert_rows_match
from torch import nn

PAIRS = [
    EncodedPair([*range(5, 25)], [30, 31, 32], [30, 33], truncated=False),
    EncodedPair([*range(40, 50)], [7], [8, 9, 10, 11], truncated=False),
]
TOKENS = 24 + 15
"""Of these pairs, whose first two completions begin with the same token."""
PREDICTING = 3 + 4
"""The last of each prompt, and all of each completion but its last."""
NO_TARGET = EncodedPair([], [5], [6], truncated=False)


def feed_forward(one: GradientEngine, block: int) -> nn.Module:
    (blocks,) = decoder_blocks(one.checkpoint.model).values()
    names = ("mlp", "feed_forward")
    return next(module for name, module in blocks[block].named_children() if name in names)


def tokens_through(module: nn.Module, one: GradientEngine, pairs: list[EncodedPair], layout: Layout) -> set[int]:
    """How many tokens the linear layers within a module are given."""
    seen: set[int] = set()

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: Any) -> None:
        seen.add(inputs[0].shape[:-1].numel())

    handles = [part.register_forward_hook(note) for part in module.modules() if isinstance(part, nn.Linear)]
    one.batch_gradients(pairs, layout)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "phi3", "gpt_neox"])
@pytest.mark.parametrize("adapter", [False, True])
def test_the_last_feed_forward_network_is_given_what_predicts_and_no_other(
    name: str, adapter: bool, tmp_path: Path
) -> None:
    model = save_random_model(tmp_path, name)
    one = engine(model, **({"adapter": str(save_adapter(model, tmp_path / "adapter", "lora"))} if adapter else {}))
    before, last = (feed_forward(one, block) for block in (0, 1))
    assert tokens_through(last, one, PAIRS, PACKED_ROW) == {PREDICTING}
    assert tokens_through(before, one, PAIRS, PACKED_ROW) == {TOKENS}
    assert tokens_through(last, one, PAIRS, SHARED_ROW) == {2 * 24}
    packed, plain = (one.batch_gradients(PAIRS, layout).cpu().numpy() for layout in (PACKED_ROW, TWO_ROWS))
    assert_rows_match(packed, plain, 1e-5)


def test_a_pair_with_nothing_to_predict_has_its_row_computed_as_a_whole(tmp_path: Path) -> None:
    one = engine(save_random_model(tmp_path, "llama"))
    assert PACKED_ROW.batch([*PAIRS, NO_TARGET], pad_id=0).predicting is None
    assert tokens_through(feed_forward(one, 1), one, [*PAIRS, NO_TARGET], PACKED_ROW) == {TOKENS + 2}


def test_what_mixes_tokens_or_is_called_again_is_computed_as_a_whole(tmp_path: Path) -> None:
    loaded = checkpoint(save_random_model(tmp_path, "llama"))
    (blocks,) = decoder_blocks(loaded.model).values()
    mlp = blocks[1].get_submodule("mlp")
    own = mlp.forward
    mlp.forward = lambda row: own(row + row.roll(1, 1))
    one = GradientEngine(loaded, settings(tmp_path))
    assert tokens_through(mlp, one, PAIRS, PACKED_ROW) == {TOKENS}
    mlp.forward = own
    blocks[0] = blocks[1]
    one = GradientEngine(loaded, settings(tmp_path))
    assert tokens_through(mlp, one, PAIRS, PACKED_ROW) == {TOKENS}


@pytest.mark.parametrize("by_name", [False, True])
def test_what_is_given_more_than_a_row_is_computed_as_a_whole(by_name: bool, tmp_path: Path) -> None:
    """That would have to be narrowed with it."""
    loaded = checkpoint(save_random_model(tmp_path, "llama"))
    mlp = loaded.model.get_submodule("model.layers.1.mlp")
    own = mlp.forward
    mlp.forward = lambda row, other=0: own(row + other)

    def given_more(_: nn.Module, inputs: tuple[Any, ...], __: Any) -> tuple[Any, Any]:
        return (inputs, {"other": inputs[0]}) if by_name else ((*inputs, *inputs), {})

    mlp.register_forward_pre_hook(given_more, with_kwargs=True)
    one = GradientEngine(loaded, settings(tmp_path))
    assert tokens_through(mlp, one, PAIRS, PACKED_ROW) == {TOKENS}


@pytest.mark.parametrize("fails", ["model.layers.0", "model.layers.1.mlp"])
def test_a_model_or_a_part_that_cannot_be_tried_out_is_computed_as_a_whole(fails: str, tmp_path: Path) -> None:
    """A part may need what the model has left there for it, and have no use but one in its place."""
    loaded = checkpoint(save_random_model(tmp_path, "llama"))
    module = loaded.model.get_submodule(fails)
    calls = []

    def refuse(*_: Any) -> None:
        calls.append(fails)
        if fails == "model.layers.0" or len(calls) > 1:
            raise KeyError(fails)

    refused = module.register_forward_pre_hook(refuse)
    one = GradientEngine(loaded, settings(tmp_path))
    refused.remove()
    assert calls
    assert tokens_through(feed_forward(one, 1), one, PAIRS, PACKED_ROW) == {TOKENS}


def test_a_model_with_several_stacks_of_blocks_has_no_last_one(tmp_path: Path) -> None:
    loaded = checkpoint(save_random_model(tmp_path, "llama"))
    decoder = loaded.model.get_submodule("model")
    layers = decoder.get_submodule("layers")
    decoder.add_module("more", nn.ModuleList(layers.children()))
    one = GradientEngine(loaded, settings(tmp_path))
    assert len(decoder_blocks(loaded.model)) == 2
    assert tokens_through(layers.get_submodule("1.mlp"), one, PAIRS, PACKED_ROW) == {TOKENS}
