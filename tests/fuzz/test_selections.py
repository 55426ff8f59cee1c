"""Selections, of any scores: what each promises, and that worker and client make the same one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from congrad.contract.selection import select as select_in_client
from congrad.contract.wire import Decision, FractionSelection, Reason, ThresholdSelection
from congrad_worker.decisions.selection import select
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import examples

TAGS = ("de", "fr", "sw", "zh-Hant")

# Multiples of an eighth too, so that equal scores are frequent.
SCORES = st.one_of(st.floats(-1, 1), st.integers(-8, 8).map(lambda eighths: eighths / 8))
SHARES = st.one_of(st.floats(0, 1), st.integers(0, 20).map(lambda parts: parts / 20))
WITHOUT = st.sampled_from(sorted(set(Reason) - {Reason.UNAVAILABLE}))


@dataclass(frozen=True)
class Pair:
    """A language, a score or the reason why there is none, and how many times as long the chosen answer is."""

    language: str
    score: float | Reason
    ratio: float | None = None


RATIOS = st.none() | st.floats(0.1, 10) | st.sampled_from([0.5, 1.0, 2.0])
PAIRS = st.lists(st.builds(Pair, st.sampled_from(TAGS), SCORES | WITHOUT), max_size=40)
PAIRS_WITH_RATIOS = st.lists(st.builds(Pair, st.sampled_from(TAGS[:2]), SCORES | WITHOUT, RATIOS), max_size=80)
RECENT = st.dictionaries(
    st.sampled_from(TAGS), st.lists(SCORES, max_size=30).map(lambda scores: np.array(scores, np.float32))
)
WITHIN = st.sampled_from(["language", "request"])


def fraction(keep: float, within: str) -> FractionSelection:
    return FractionSelection.model_validate({"kind": "fraction", "keep": keep, "within": within})


SELECTIONS = st.one_of(
    st.builds(lambda bound: ThresholdSelection(max_conflict=bound), SCORES), st.builds(fraction, SHARES, WITHIN)
)


def kept(
    selection: ThresholdSelection | FractionSelection,
    pairs: Sequence[Pair],
    recent: dict[str, np.ndarray] | None = None,
) -> list[bool]:
    """The worker's selection."""
    scores = np.array([np.nan if isinstance(pair.score, Reason) else pair.score for pair in pairs])
    reasons = [pair.score if isinstance(pair.score, Reason) else None for pair in pairs]
    ratios = [pair.ratio for pair in pairs]
    chosen: list[bool] = select(
        selection, scores, reasons, [pair.language for pair in pairs], recent or {}, ratios
    ).tolist()
    return chosen


def value(pair: Pair) -> float:
    """The score of a pair that has one."""
    assert not isinstance(pair.score, Reason)
    return pair.score


def groups(within: str, pairs: Sequence[Pair]) -> list[list[int]]:
    """The positions of the scored pairs that are ranked against each other."""
    scored = [i for i, pair in enumerate(pairs) if not isinstance(pair.score, Reason)]
    if within == "request":
        return [scored]
    return [[i for i in scored if pairs[i].language == tag] for tag in TAGS]


@given(PAIRS, SHARES, WITHIN)
@examples(150)
def test_a_fraction_keeps_its_share_of_each_group_and_the_lowest_scores(
    pairs: list[Pair], share: float, within: str
) -> None:
    keep = kept(fraction(share, within), pairs)
    for group in groups(within, pairs):
        inside = [value(pairs[i]) for i in group if keep[i]]
        outside = [value(pairs[i]) for i in group if not keep[i]]
        assert abs(len(inside) - share * len(group)) <= 0.5 + 1e-9
        assert max(inside, default=-1) <= min(outside, default=1)


@given(PAIRS, SCORES)
@examples(100)
def test_a_threshold_keeps_exactly_what_is_not_above_it(pairs: list[Pair], bound: float) -> None:
    keep = kept(ThresholdSelection(max_conflict=bound), pairs)
    for pair, is_kept in zip(pairs, keep, strict=True):
        if not isinstance(pair.score, Reason):
            assert is_kept == (not pair.score > bound)


@given(PAIRS, SELECTIONS, RECENT)
@examples(100)
def test_where_there_is_no_score_the_reason_decides_whatever_is_selected(
    pairs: list[Pair], selection: ThresholdSelection | FractionSelection, recent: dict[str, np.ndarray]
) -> None:
    for pair, is_kept in zip(pairs, kept(selection, pairs, recent), strict=True):
        if isinstance(pair.score, Reason):
            assert is_kept == (pair.score is Reason.NO_DIRECTION)


@given(PAIRS, SELECTIONS)
@examples(100)
def test_pairs_without_a_score_take_no_ones_place(
    pairs: list[Pair], selection: ThresholdSelection | FractionSelection
) -> None:
    scored = [pair for pair in pairs if not isinstance(pair.score, Reason)]
    among_all = [k for k, pair in zip(kept(selection, pairs), pairs, strict=True) if not isinstance(pair.score, Reason)]
    assert among_all == kept(selection, scored)


@given(PAIRS_WITH_RATIOS, SHARES, SHARES, st.sampled_from(["language", "language-length", "request", "stream"]), RECENT)
@examples(150)
def test_who_asks_for_more_keeps_all_that_a_smaller_share_kept(
    pairs: list[Pair], first: float, second: float, within: str, recent: dict[str, np.ndarray]
) -> None:
    fewer, more = (kept(fraction(share, within), pairs, recent) for share in sorted((first, second)))
    assert all(b for a, b in zip(fewer, more, strict=True) if a)


@given(st.data(), PAIRS, SELECTIONS)
@examples(150)
def test_the_order_of_pairs_matters_only_among_equals(
    data: st.DataObject, pairs: list[Pair], selection: ThresholdSelection | FractionSelection
) -> None:
    order = data.draw(st.permutations(range(len(pairs))))
    before, after = kept(selection, pairs), kept(selection, [pairs[i] for i in order])

    def chosen(keep: list[bool], at: Sequence[int]) -> list[tuple[str, str]]:
        # Within the request equals of two languages may change places.
        whole = isinstance(selection, FractionSelection) and selection.within == "request"
        found = [("" if whole else pairs[i].language, repr(pairs[i].score)) for k, i in zip(keep, at, strict=True) if k]
        return sorted((tag, score.replace("-0.0", "0.0")) for tag, score in found)

    assert chosen(before, range(len(pairs))) == chosen(after, order)
    if len({pair.score for pair in pairs if not isinstance(pair.score, Reason)}) == len(
        [pair for pair in pairs if not isinstance(pair.score, Reason)]
    ):
        assert [before[i] for i in order] == after


@given(PAIRS, SHARES, st.permutations(TAGS), RECENT, st.sampled_from(["language", "request", "stream"]))
@examples(150)
def test_what_languages_are_called_does_not_matter(
    pairs: list[Pair], share: float, names: list[str], recent: dict[str, np.ndarray], within: str
) -> None:
    renamed = dict(zip(TAGS, names, strict=True))
    again = [Pair(renamed[pair.language], pair.score) for pair in pairs]
    recent_again = {renamed[tag]: scores for tag, scores in recent.items()}
    selection = fraction(share, within)
    assert kept(selection, again, recent_again) == kept(selection, pairs, recent)


@given(PAIRS, SHARES, RECENT)
@examples(150)
def test_within_the_stream_a_pair_is_kept_by_its_rank_among_earlier_and_present_scores(
    pairs: list[Pair], share: float, recent: dict[str, np.ndarray]
) -> None:
    keep = kept(fraction(share, "stream"), pairs, recent)
    for tag, group in zip(TAGS, groups("language", pairs), strict=True):
        scores = [*(float(score) for score in recent.get(tag, [])), *(value(pairs[i]) for i in group)]
        places = round_half_up(share, len(scores))
        for position, i in enumerate(group, start=len(scores) - len(group)):
            lower = sum(other < scores[position] for other in scores)
            equal_before = sum(other == scores[position] for other in scores[:position])
            assert keep[i] == (lower + equal_before < places)


def round_half_up(share: float, count: int) -> int:
    """The number of places; which of two is nearer is decided in floating point."""
    return int(np.floor(share * count + 0.5))


@given(PAIRS, SHARES)
@examples(50)
def test_a_stream_that_begins_is_ranked_within_the_language(pairs: list[Pair], share: float) -> None:
    assert kept(fraction(share, "stream"), pairs) == kept(fraction(share, "language"), pairs)


@given(PAIRS_WITH_RATIOS, SELECTIONS | st.builds(fraction, SHARES, st.just("language-length")))
@examples(200)
def test_client_and_worker_select_the_same(
    pairs: list[Pair], selection: ThresholdSelection | FractionSelection
) -> None:
    def decision(number: int, pair: Pair) -> Decision:
        reason = pair.score if isinstance(pair.score, Reason) else None
        score = None if isinstance(pair.score, Reason) else pair.score
        # As the service decided under another selection: only what has no score stays.
        return Decision(
            str(number), pair.language, reason is Reason.NO_DIRECTION, score, [], False, reason, length_ratio=pair.ratio
        )

    made = select_in_client(selection, [decision(number, pair) for number, pair in enumerate(pairs)])
    assert [decision.keep for decision in made] == kept(selection, pairs)
