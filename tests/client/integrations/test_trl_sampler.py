"""Which rows a trainer draws while that changes."""

from collections import Counter
from itertools import islice

import pytest
from congrad.integrations.trl.sampler import KeptRows

KEEP = [True, False, True, True, False, True]
KEPT = [0, 2, 3, 5]


def test_an_epoch_has_each_kept_row_once_in_an_order_of_its_own_that_all_processes_share() -> None:
    here, there = KeptRows(KEEP, seed=7), KeptRows(KEEP, seed=7)
    orders = []
    for epoch in range(8):
        for sampler in (here, there):
            sampler.set_epoch(epoch)
        orders.append(list(here))
        assert orders[-1] == list(there)
        assert sorted(orders[-1]) == KEPT
    assert len({tuple(order) for order in orders}) > 1
    assert any(list(KeptRows(KEEP, seed=seed)) != orders[0] for seed in range(8))


def test_an_epoch_stays_as_long_as_at_first_whatever_is_kept_later() -> None:
    sampler = KeptRows(KEEP, seed=0)
    sampler.replace([False, True, True, False, False, False])
    assert len(sampler) == len(KEPT)
    assert Counter(sampler) == {1: 2, 2: 2}
    sampler.replace([True] * 6)
    drawn = list(sampler)
    assert len(drawn) == len(set(drawn)) == len(KEPT)


def test_what_is_dropped_in_the_middle_of_an_epoch_is_not_drawn_from_then_on() -> None:
    for seed in range(8):
        sampler = KeptRows(KEEP, seed)
        rows = iter(sampler)
        first = list(islice(rows, 2))
        sampler.replace([False, True, False, False, True, False])
        rest = list(rows)
        assert set(first) <= set(KEPT)
        assert set(rest) <= {1, 4}
        assert len(first + rest) == len(KEPT)


def test_an_epoch_that_is_gone_on_with_is_drawn_as_it_was_and_the_next_one_from_what_is_kept_by_then() -> None:
    others = [True, True, False, True, True, True]
    for seed in range(8):
        sampler = KeptRows(KEEP, seed)
        rows = iter(sampler)
        first = list(islice(rows, 2))
        sampler.replace(others)
        first += islice(rows, 1)
        again = KeptRows(others, seed, len(KEPT), sampler.drawn)
        assert list(again) == first + list(rows)
        for one in (sampler, again):
            one.set_epoch(1)
        assert list(again) == list(sampler)


def test_that_nothing_is_kept_is_an_error_and_no_endless_epoch() -> None:
    with pytest.raises(ValueError, match="no row is kept"):
        KeptRows([False, False], seed=0)
    sampler = KeptRows(KEEP, seed=0)
    with pytest.raises(ValueError, match="no row is kept"):
        sampler.replace([False] * 6)
    assert sorted(sampler) == KEPT
