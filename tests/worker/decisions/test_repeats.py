"""Each pair counts once, in numbers: against a direction that was made of every pair exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from congrad.contract import wire
from congrad_service.directions import remembered
from congrad_worker.decisions.decide import Outcome, Rules, decide
from congrad_worker.decisions.direction import LanguageState, Samples
from congrad_worker.decisions.memory import Memory, wanted
from congrad_worker.decisions.question import Earlier, Question
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scoring import RULES, scores_of

DIM = 64
TAGS = ("de", "fr", "zh")

DRAW = np.random.default_rng(3)
GRADIENTS = (DRAW.standard_normal((400, DIM)) + 0.5).astype(np.float32)
HASHES = [DRAW.bytes(16) for _ in range(400)]


@dataclass
class Direction:
    """A direction and what it remembers, in memory and in buckets as in Redis."""

    rules: Rules = RULES
    languages: dict[str, LanguageState] = field(default_factory=dict)
    tables: dict[str, remembered.Table] = field(default_factory=dict)
    held: dict[str, bytes] = field(default_factory=dict)
    given_up: int = 0

    def ask(
        self, pairs: Sequence[int], update: bool = True, once: bool = True, earlier: Earlier | None = None
    ) -> Outcome:
        """One request with some of the pairs, each in the language of its number."""
        tags = [TAGS[pair % len(TAGS)] for pair in pairs]
        hashes = [HASHES[pair] for pair in pairs]
        numbers = wanted(self.tables, hashes, tags)
        memory = Memory(
            self.tables,
            numbers,
            {
                tag: b"".join(self.held.get(remembered.field(tag, number), b"") for number in own)
                for tag, own in numbers.items()
            },
        )
        question = Question(
            [str(pair) for pair in pairs], Samples.of(GRADIENTS[list(pairs)], tags), [False] * len(pairs),
            wire.ThresholdSelection(), update, hashes, once, earlier, memory,
        )  # fmt: skip
        outcome = decide(question, self.languages, self.rules)
        if update:
            self.languages, self.tables = outcome.languages, dict(outcome.learnt.tables)
            for tag, own in outcome.learnt.buckets.items():
                self.held |= {remembered.field(tag, number): part for number, part in own.items()}
            self.given_up += outcome.learnt.given_up
        return outcome

    def remembered(self) -> dict[str, np.ndarray]:
        """All pairs that it remembers, by language."""
        held = {name.encode(): part for name, part in self.held.items() if part}
        return remembered.by_language(held, self.tables)


def repeated(outcome: Outcome) -> list[bool]:
    return [decision.repeated for decision in outcome.decisions]


def assert_same(one: Direction, other: Direction) -> None:
    assert {tag: state.samples for tag, state in one.languages.items()} == {
        tag: state.samples for tag, state in other.languages.items()
    }
    for tag, state in one.languages.items():
        assert state.weight == other.languages[tag].weight
        assert np.array_equal(state.total, other.languages[tag].total)
        assert np.array_equal(state.recent, other.languages[tag].recent)


def test_the_same_request_again_changes_nothing_and_is_decided_alike() -> None:
    direction, alone = Direction(), Direction()
    first = direction.ask(range(40))
    alone.ask(range(40))
    again = direction.ask(range(40))
    assert (repeated(first), repeated(again)) == ([False] * 40, [True] * 40)
    assert_same(direction, alone)
    assert np.allclose(scores_of(again), scores_of(first), atol=1e-6)
    assert [d.keep for d in again.decisions] == [d.keep for d in first.decisions]


@pytest.mark.parametrize("half_life", [np.inf, 16.0])
def test_a_pair_that_comes_again_is_scored_without_what_is_left_of_it(half_life: float) -> None:
    """Against its gradient taken out of the direction by hand."""
    rules = replace(RULES, half_life=half_life)
    direction = Direction(rules)
    direction.ask(range(30))
    direction.ask(range(30, 90))
    outcome = direction.ask(range(9))
    assert outcome.consensus is not None
    weights = dict(zip(outcome.consensus.tags, outcome.consensus.weights, strict=True))
    for row, pair in enumerate(range(9)):
        tag = TAGS[pair % 3]
        state = direction.languages[tag]
        # Ten of the language came with it, and twenty after it.
        brought = 1.0 if np.isinf(half_life) else (1 - 2 ** (-10 / 16)) * 16 / np.log(2) / 10
        share = brought * 2 ** (-20 / half_life) / state.weight
        gradient = GRADIENTS[pair].astype(np.float64)
        rest = outcome.consensus.direction - weights[tag] * share * gradient
        expected = -gradient @ rest / np.linalg.norm(gradient) / np.linalg.norm(rest)
        assert scores_of(outcome)[row] == pytest.approx(expected, abs=2e-3)  # gradients are in half precision


def test_a_pair_that_is_twice_in_a_request_counts_once() -> None:
    direction, alone = Direction(), Direction()
    twice = direction.ask([*range(12), 4, 5, 4])
    once = alone.ask(range(12))
    assert repeated(twice) == [False] * 12 + [True] * 3
    assert_same(direction, alone)
    assert np.allclose(scores_of(twice)[:12], scores_of(once))
    assert np.allclose(scores_of(twice)[12:], scores_of(once)[[4, 5, 4]])


def test_new_pairs_among_repeated_ones_are_folded_in() -> None:
    direction, alone = Direction(), Direction()
    direction.ask(range(20))
    mixed = direction.ask(range(10, 50))
    alone.ask(range(20))
    alone.ask(range(20, 50))
    assert repeated(mixed) == [True] * 10 + [False] * 30
    assert_same(direction, alone)
    assert (mixed.summary.repeated, mixed.summary.by_language["de"].repeated) == (10, 3)


def test_the_same_pair_under_another_language_is_another_pair() -> None:
    direction = Direction()
    direction.ask([0])
    question = Question(["x"], Samples.of(GRADIENTS[[0]], ["fr"]), [False], wire.ThresholdSelection(), True, HASHES[:1])
    assert repeated(decide(question, direction.languages, RULES)) == [False]


def test_without_an_update_a_known_pair_is_scored_without_its_share() -> None:
    direction = Direction()
    first = direction.ask(range(30))
    looked = direction.ask([*range(30), 31], update=False)
    assert repeated(looked) == [True] * 30 + [False]
    assert np.allclose(scores_of(looked)[:30], scores_of(first), atol=1e-6)


def test_counted_again_it_is_folded_in_again_and_remembered_with_both_stakes() -> None:
    direction, old = Direction(), Direction()
    direction.ask(range(30))
    counted = direction.ask(range(30), once=False)
    assert repeated(counted) == [False] * 30
    assert direction.languages["de"].samples == 20
    # As it was before pairs were remembered: of the earlier request nothing is known.
    old.ask(range(30))
    old.held.clear()
    old.tables.clear()
    assert np.array_equal(scores_of(old.ask(range(30))), scores_of(counted))
    assert {float(pair["amount"]) for pair in direction.remembered()["de"]} == {2.0}
    once = Direction()
    assert np.allclose(scores_of(direction.ask(range(30))), scores_of(once.ask(range(30))), atol=1e-6)


def test_scored_again_a_job_says_of_each_pair_what_it_said_first() -> None:
    direction = Direction()
    direction.ask(range(12))
    first = direction.ask(range(6, 24))
    earlier = Earlier(first.stakes, [place for place, one in enumerate(first.decisions) if one.repeated])
    again = direction.ask(range(6, 24), update=False, earlier=earlier)
    assert repeated(again) == repeated(first) == [True] * 6 + [False] * 12
    assert np.allclose(scores_of(again), scores_of(first), atol=1e-6)


def test_a_pair_that_was_given_up_is_scored_again_without_its_stake_in_the_earlier_job() -> None:
    few, all_of_them = Direction(replace(RULES, max_pairs=0)), Direction()
    first = few.ask(range(24))
    all_of_them.ask(range(24))
    assert few.given_up == 24
    again = few.ask(range(24), update=False, earlier=Earlier(first.stakes))
    assert np.allclose(scores_of(again), scores_of(first), atol=1e-6)
    assert_same(few, all_of_them)


def test_buckets_grow_with_the_pairs_and_each_is_found_in_its_own() -> None:
    direction = Direction()
    for start in range(0, 400, 25):
        assert not any(repeated(direction.ask(range(start, start + 25))))
    assert all(repeated(direction.ask(range(400), update=False)))
    assert sum(table.pairs for table in direction.tables.values()) == 400
    assert all(8 * table.buckets >= table.pairs for table in direction.tables.values())
    for name, part in direction.held.items():
        tag, _, number = name.rpartition(":")
        hashes = np.frombuffer(part, remembered.PAIR)["hash"]
        assert (remembered.places(hashes, direction.tables[tag].buckets) == int(number)).all()


def test_what_has_decayed_to_nothing_is_forgotten_and_not_given_up() -> None:
    direction = Direction(replace(RULES, half_life=1.0))
    for start in range(0, 390, 30):
        direction.ask(range(start, start + 30))
    assert direction.given_up == 0
    # Ten of a language in a request, and a millionth is left after twenty.
    assert sum(table.pairs for table in direction.tables.values()) < 200
    assert sum(len(pairs) for pairs in direction.remembered().values()) == sum(
        table.pairs for table in direction.tables.values()
    )


def test_no_more_pairs_are_remembered_than_allowed_and_the_oldest_go_first() -> None:
    direction = Direction(replace(RULES, max_pairs=60))
    for start in range(0, 300, 30):
        direction.ask(range(start, start + 30))
        assert sum(table.pairs for table in direction.tables.values()) <= 60
    assert direction.given_up == 240
    assert all(repeated(direction.ask(range(270, 300), update=False)))
    assert sum(repeated(direction.ask(range(150), update=False))) < 15


REQUESTS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 59), min_size=1, max_size=40),
        st.booleans(),  # whether it updates
        st.booleans(),  # whether a pair counts once
        st.sampled_from([0, 1, 2, 7, 30, 1000]),  # pairs that are remembered at most, by then
    ),
    max_size=8,
)


@settings(max_examples=30, deadline=None)  # others may take the time; what never ends is ended anyway
@given(REQUESTS, st.sampled_from([np.inf, 8.0, 0.05]))
def test_whatever_comes_and_however_little_is_remembered_a_memory_holds_together(
    requests: list[tuple[list[int], bool, bool, int]], half_life: float
) -> None:
    direction, folded, before = Direction(replace(RULES, half_life=half_life)), set[int](), 0
    for pairs, update, once, most in requests:
        direction.rules = replace(direction.rules, max_pairs=most)
        known = {pair for own in direction.remembered().values() for pair in own["hash"].tolist()}
        found = repeated(direction.ask(pairs, update, once))
        if once:
            for place, (pair, again) in enumerate(zip(pairs, found, strict=True)):
                assert again == (HASHES[pair] in known or (update and pair in pairs[:place]))
        folded |= {*pairs} if update else set()
        held = direction.remembered()
        assert {tag: table.pairs for tag, table in direction.tables.items()} == {
            tag: len(own) for tag, own in held.items()
        }
        assert sum(map(len, held.values())) <= max(most, before)
        for tag, table in direction.tables.items():
            assert 8 * table.buckets >= table.pairs
            assert {*held[tag]["hash"].tolist()} <= {HASHES[pair] for pair in folded}
            assert len({*held[tag]["hash"].tolist()}) == len(held[tag])
        before = sum(map(len, held.values()))


def test_pairs_without_a_gradient_are_not_remembered() -> None:
    direction = Direction()
    nothing = Samples.of(np.zeros((2, DIM), np.float32), ["de", "de"])
    question = Question(["a", "b"], nothing, [False] * 2, wire.ThresholdSelection(), True, HASHES[:1] * 2)
    outcome = decide(question, direction.languages, RULES)
    assert repeated(outcome) == [False, False]
    assert outcome.learnt.buckets == {}


def test_samples_without_a_hash_are_all_new() -> None:
    samples = Samples.of(GRADIENTS[:2], ["de", "de"])
    question = Question(["a", "b"], samples, [False] * 2, wire.ThresholdSelection(), True, [None] * 2)
    outcome = decide(question, {}, RULES)
    assert repeated(outcome) == [False, False]
    assert outcome.languages["de"].samples == 2
    assert outcome.learnt.buckets == {}
