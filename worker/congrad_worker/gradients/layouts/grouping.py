"""Micro-batches: which pairs are computed together."""

import sys
from collections.abc import Mapping


def micro_batches(sizes: Mapping[int, int], budget: int, batch_cost: int) -> list[list[int]]:
    """The keys of ``sizes`` in groups of at most ``budget`` padded tokens, the largest first.

    Of all ways to cut the sorted pairs into groups it is the one with the fewest padded tokens, each group counted with
    ``batch_cost`` on top. A pair that is over the budget makes a group of its own.

    :param sizes: tokens of each pair. In a group, every pair takes up as many as the largest.
    :param batch_cost: what a batch costs beside its tokens, in tokens.
    """
    ordered = sorted(sizes, key=lambda i: -sizes[i])
    # Dynamic programming over where the last group begins: costs of the first n pairs, cut at best.
    costs = [0] + [sys.maxsize] * len(ordered)
    starts = [0] * len(costs)
    for start, position in enumerate(ordered):
        longest = sizes[position]  # sets the padded length of the group that starts here
        most = max(budget // longest, 1)
        for end in range(start + 1, min(start + most, len(ordered)) + 1):
            cost = costs[start] + (end - start) * longest + batch_cost
            if cost < costs[end]:
                costs[end], starts[end] = cost, start
    groups: list[list[int]] = []
    end = len(ordered)
    while end:
        groups.append(ordered[starts[end] : end])
        end = starts[end]
    return groups[::-1]


def unpadded_batches(sizes: Mapping[int, int], budget: int) -> list[list[int]]:
    """The keys of ``sizes`` in groups of at most ``budget`` tokens, the largest first, where none is padding.

    As few groups as lengths that follow one another allow, and none much smaller than the others. A pair that is over
    the budget makes a group of its own.
    """
    ordered = sorted(sizes, key=lambda i: -sizes[i])
    left = sum(sizes.values())
    groups: list[list[int]] = []
    used = share = 0
    for position in ordered:
        if used >= share or used + sizes[position] > budget:
            groups.append([])
            # What is left, in as many groups as it needs, has so many tokens in each of them.
            used, share = 0, -(-left // -(-left // budget))
        groups[-1].append(position)
        used += sizes[position]
        left -= sizes[position]
    return groups
