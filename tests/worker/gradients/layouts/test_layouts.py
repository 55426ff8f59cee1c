"""How pairs lie in rows, and which of them are computed together."""

from collections.abc import Sequence
from itertools import combinations, pairwise, product

import torch
from congrad_worker.checkpoints.pairs import EncodedPair, Spans
from congrad_worker.gradients.layouts.costs import Costs
from congrad_worker.gradients.layouts.extents import Extents
from congrad_worker.gradients.layouts.grouping import micro_batches, unpadded_batches
from congrad_worker.gradients.layouts.layout import summed_products
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW, by_pair
from congrad_worker.gradients.layouts.segments import Segment
from congrad_worker.gradients.layouts.shared_row import PADDING_BRANCH, SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS

BATCH_COST = 200


def pair(prompt: int, chosen: int, rejected: int) -> EncodedPair:
    """A pair of some lengths whose completions differ from their first token on."""
    return EncodedPair([1] * prompt, [2] * chosen, [3] * rejected, truncated=False)


SMALL = EncodedPair([10, 11], [20, 21, 22], [20, 31], truncated=False)


def test_a_pair_in_one_row_has_its_trunk_once_and_positions_that_restart() -> None:
    batch = SHARED_ROW.batch([SMALL, pair(1, 1, 4)], pad_id=0)
    assert batch.position_ids is not None
    assert batch.branches is not None
    assert batch.spans == (Spans(trunk=3, chosen=2, rejected=1), Spans(trunk=1, chosen=1, rejected=4))
    assert batch.input_ids.tolist() == [[10, 11, 20, 21, 22, 31], [1, 2, 3, 3, 3, 3]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 1, 2, 3, 4]]
    assert batch.branches.tolist() == [[0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 2, 2]]
    first = batch.targets.each(lambda tensor: tensor[:5])
    assert first.ids.tolist() == [20, 21, 22, 20, 31]
    assert first.sources.tolist() == [1, 2, 3, 1, 2]  # both completions' first two come out of the trunk
    assert first.completions.tolist() == [0, 0, 0, 1, 1]
    assert first.offsets.tolist() == [0, 1, 2, 0, 1]
    assert batch.lengths.tolist() == [[3, 2], [1, 4]]


def test_pairs_in_a_packed_row_follow_one_another_without_padding() -> None:
    batch = PACKED_ROW.batch([SMALL, pair(1, 1, 4)], pad_id=0)
    assert batch.position_ids is not None
    assert batch.branches is not None
    assert batch.input_ids.tolist() == [[10, 11, 20, 21, 22, 31, 1, 2, 3, 3, 3, 3]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 1, 2, 3, 4]]
    assert batch.branches.tolist() == [[0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 5, 5]]
    assert batch.extents.starts == (0, 6)
    assert batch.targets.sources.tolist() == [1, 2, 3, 1, 2, 6, 6, 8, 9, 10]
    assert batch.targets.ids.tolist() == [20, 21, 22, 20, 31, 2, 3, 3, 3, 3]
    assert batch.predicting is not None
    assert batch.predicting.tokens.tolist() == [1, 2, 3, 6, 8, 9, 10]
    assert batch.predicting.extents == Extents((1, 7), (0, 3), (3, 4))
    assert batch.segments == (
        Segment(0, 0, 5, 0, 0),
        Segment(0, 5, 1, 0, 3),
        Segment(0, 6, 2, 6, 0),
        Segment(0, 8, 4, 6, 1),
    )


def test_a_packed_row_holds_only_completions_without_a_prompt() -> None:
    """Of a pair without a trunk and without a chosen completion there is one sequence."""
    batch = PACKED_ROW.batch([EncodedPair([], [], [7, 8], truncated=False), pair(2, 1, 0)], pad_id=0)
    assert batch.segments == (Segment(0, 0, 2, 0, 0), Segment(0, 2, 3, 2, 0))
    assert batch.targets.ids.tolist() == [8, 2]


def test_products_of_pairs_are_those_of_each_alone_for_each_module_in_every_layout() -> None:
    pairs = [SMALL, pair(1, 1, 4), pair(5, 2, 3)]
    for layout, each in product((PACKED_ROW, SHARED_ROW, TWO_ROWS), (1, 2)):
        batch = layout.batch(pairs, pad_id=0)
        rows, tokens = batch.input_ids.shape
        draw = torch.Generator().manual_seed(0)
        deltas, activations = (torch.randn(2, rows, tokens * each, size, generator=draw) for size in (3, 4))
        found = layout.products(deltas, activations, batch.extents)
        flat = [v.reshape(2, rows * tokens, each, -1) for v in (deltas, activations)]
        starts = batch.extents.starts
        bounds = zip(starts, [*starts[1:], rows * tokens], strict=True)
        parts = [[v[:, start:end].flatten(1, 2) for v in flat] for start, end in bounds]
        torch.testing.assert_close(found, torch.stack([left.mT @ right for left, right in parts], dim=1))
        if layout is PACKED_ROW:  # as where launching a product for each pair would take longer than all of them
            torch.testing.assert_close(found, summed_products(*by_pair(deltas, activations, batch.extents)))


def test_what_is_not_finite_in_one_pair_of_a_packed_row_is_in_no_other_pairs_product() -> None:
    batch = PACKED_ROW.batch([SMALL, pair(1, 1, 1), pair(5, 2, 3)], pad_id=0)
    deltas, activations = torch.ones(1, 1, 19, 2), torch.ones(1, 1, 19, 2)
    activations[0, 0, 0], deltas[0, 0, 18] = torch.inf, torch.nan
    for found in (
        PACKED_ROW.products(deltas, activations, batch.extents),
        summed_products(*by_pair(deltas, activations, batch.extents)),
    ):
        assert found[0].flatten(1).isfinite().all(1).tolist() == [False, True, False]


def test_a_pair_in_two_rows_needs_neither_positions_nor_branches() -> None:
    batch = TWO_ROWS.batch([SMALL], pad_id=0)
    assert batch.position_ids is None
    assert batch.branches is None
    assert batch.input_ids.tolist() == [[10, 11, 20, 21, 22], [10, 11, 20, 31, 0]]
    assert batch.targets.sources.tolist() == [1, 2, 3, 6, 7]
    assert batch.targets.ids.tolist() == [20, 21, 22, 20, 31]


def test_nothing_predicts_the_first_token_of_a_sequence_without_a_prompt() -> None:
    for layout in (SHARED_ROW, TWO_ROWS):
        batch = layout.batch([EncodedPair([], [5, 6], [7, 8, 9], truncated=False)], pad_id=0)
        assert batch.targets.ids.tolist() == [6, 8, 9]
        assert batch.targets.offsets.tolist() == [1, 1, 2]
        assert batch.input_ids.flatten()[batch.targets.sources].tolist() == [5, 7, 8]


def test_padding_is_a_branch_of_its_own() -> None:
    batch = SHARED_ROW.batch([pair(2, 2, 2), pair(2, 1, 1)], pad_id=9)
    assert batch.branches is not None
    assert batch.branches[1].tolist() == [0, 0, 1, 2, PADDING_BRANCH, PADDING_BRANCH]
    assert batch.input_ids[1, 4:].tolist() == [9, 9]


def test_micro_batches_hold_like_lengths_within_the_budget_and_lose_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    pairs = [pair(*torch.randint(1, 60, (3,), generator=draw).tolist()) for _ in range(50)]
    for layout in (SHARED_ROW, TWO_ROWS):
        groups = micro_batches(
            {i: layout.tokens(one) for i, one in enumerate(pairs)}, budget=400, batch_cost=BATCH_COST
        )
        assert sorted(i for group in groups for i in group) == list(range(50))
        sizes = [[layout.tokens(pairs[i]) for i in group] for group in groups]
        assert all(len(group) * max(group) <= 400 for group in sizes)
        assert all(min(before) >= max(after) for before, after in pairwise(sizes))


def test_a_pair_over_the_budget_is_a_batch_of_its_own() -> None:
    assert micro_batches({0: 300, 1: 6, 2: 7}, budget=20, batch_cost=BATCH_COST) == [[0], [2, 1]]


def test_packed_batches_are_as_few_and_as_even_as_the_budget_allows() -> None:
    draw = torch.Generator().manual_seed(0)
    sizes = dict(enumerate(torch.randint(3, 180, (50,), generator=draw).tolist()))
    groups = unpadded_batches(sizes, budget=1000)
    assert sorted(i for group in groups for i in group) == list(range(50))
    tokens = [sum(sizes[i] for i in group) for group in groups]
    assert max(tokens) <= 1000
    assert len(groups) <= -(-sum(tokens) // 1000) + 1
    assert min(tokens) >= 0.8 * max(tokens)  # 0.88 in this draw; of a hundred draws half have 0.79, and the worst 0.48
    assert unpadded_batches({0: 300, 1: 6, 2: 7}, budget=20) == [[0], [2, 1]]
    assert unpadded_batches({}, budget=20) == []
    assert unpadded_batches(dict.fromkeys(range(4), 90), budget=256) == [[0, 1], [2, 3]]
    assert unpadded_batches({0: 91, 1: 90, 2: 90, 3: 89, 4: 1}, budget=256) == [[0, 1], [2, 3, 4]]


def test_no_other_cut_of_the_sorted_pairs_costs_less() -> None:
    def cost(groups: Sequence[Sequence[int]]) -> int:
        return sum(len(group) * sizes[group[0]] + BATCH_COST for group in groups)

    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        sizes = dict(enumerate(torch.randint(3, 450, (7,), generator=draw).tolist()))
        found = micro_batches(sizes, budget=1500, batch_cost=BATCH_COST)
        ordered = [i for group in found for i in group]
        cuts = [[0, *ends, 7] for count in range(7) for ends in combinations(range(1, 7), count)]
        all_groups = [[ordered[a:b] for a, b in pairwise(cut)] for cut in cuts]
        allowed = [g for g in all_groups if all(len(group) * sizes[group[0]] <= 1500 for group in g)]
        assert cost(found) == min(map(cost, allowed))


def test_where_every_segment_is_a_call_of_its_own_a_short_prompt_is_computed_twice() -> None:
    """On a GPU without attention for sequences of various lengths, and only where that costs more than it saves."""
    costs = Costs.of("cuda", layer_weights=2e8, attends_at_once=False)
    long, short = pair(500, 200, 200), pair(60, 30, 30)
    assert PACKED_ROW.cost(long, costs) < TWO_ROWS.cost(long, costs)
    assert PACKED_ROW.cost(short, costs) > TWO_ROWS.cost(short, costs)
    for at_once in (Costs.of("cuda", layer_weights=2e8, attends_at_once=True), Costs.of("cpu", 2e8, False)):
        assert PACKED_ROW.cost(short, at_once) < TWO_ROWS.cost(short, at_once)
    # The smaller the layers, the more could be computed in the time of a launch.
    assert Costs.of("cuda", 2e7, True).batch > Costs.of("cuda", 2e8, True).batch > Costs.of("cpu", 2e7, False).batch
