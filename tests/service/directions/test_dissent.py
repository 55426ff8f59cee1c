"""What is said of languages that pull against the others."""

import numpy as np
import pytest
from congrad_service.directions.dissent import notes

TAGS = ["de", "en", "fr", "ja", "ko"]


def cosines(*sides: int, within: float = 0.4, between: float = -0.3) -> list[list[float]]:
    """Of languages on two sides, 1 and -1."""
    both = np.outer(sides, sides)
    found: list[list[float]] = np.where(np.eye(len(sides)) > 0, 1.0, np.where(both > 0, within, between)).tolist()
    return found


def test_nothing_is_said_where_all_agree() -> None:
    weights = dict.fromkeys(TAGS, 0.2)
    assert notes(TAGS, cosines(1, 1, 1, 1, 1), weights) == []
    assert notes(["de"], [[1.0]], {"de": 1.0}) == []


def test_a_language_against_all_others_is_named_with_its_weight() -> None:
    weights = dict.fromkeys(TAGS, 0.25) | {"ko": 0.0}
    assert notes(TAGS, cosines(1, 1, 1, 1, -1), weights) == [
        "the labels of ko pull against all others: weight 0",
    ]


def test_what_it_counts_all_the_same_is_said() -> None:
    weights = dict.fromkeys(TAGS, 0.223) | {"ko": 0.108}
    assert notes(TAGS, cosines(1, 1, 1, 1, -1), weights) == [
        "the labels of ko pull against all others, and yet they count 10.8 % of the direction",
    ]


def test_of_a_direction_that_an_older_worker_wrote_no_weight_is_said() -> None:
    assert notes(TAGS, cosines(1, 1, 1, 1, -1), {}) == ["the labels of ko pull against all others"]


def test_a_minority_is_named_together() -> None:
    weights = {"de": 1 / 3, "en": 1 / 3, "fr": 1 / 3, "ja": 0.0, "ko": 0.0}
    assert notes(TAGS, cosines(1, 1, 1, -1, -1), weights) == [
        "the labels of ja and ko pull against all others: weight 0",
    ]


def test_a_minority_that_has_a_friend_pulls_against_most() -> None:
    matrix = cosines(1, 1, 1, 1, -1)
    matrix[0][4] = matrix[4][0] = 0.05
    [note] = notes(TAGS, matrix, {})
    assert note == "the labels of ko pull against most others"


@pytest.mark.parametrize("sides", [(1, 1, -1), (1, 1, 1, -1, -1)])
@pytest.mark.parametrize("pull", [0.2, 0.3])
def test_a_minority_that_pulls_as_hard_as_the_others_agree_is_named(sides: tuple[int, ...], pull: float) -> None:
    tags = TAGS[: len(sides)]
    named = " and ".join(tag for tag, side in zip(tags, sides, strict=True) if side < 0)
    matrix = cosines(*sides, within=0.2, between=-pull)
    assert notes(tags, matrix, {}) == [f"the labels of {named} pull against all others"]


def test_one_that_pulls_hard_against_a_few_pulls_against_the_others_together() -> None:
    matrix = cosines(1, 1, 1, 1, -1, between=0.01)
    matrix[0][4] = matrix[4][0] = -0.3
    assert notes(TAGS, matrix, {}) == ["the labels of ko pull against the others together"]


def test_that_few_pairs_tell_little_is_said() -> None:
    matrix = cosines(1, 1, 1, -1, -1)
    samples = dict.fromkeys(TAGS, 10)
    assert notes(TAGS, matrix, {}, samples) == ["the labels of ja and ko pull against all others"]
    assert notes(TAGS, matrix, {}, samples | {"ko": 9, "de": 1}) == [
        "the labels of ja and ko pull against all others; fewer than 10 pairs of ko tell little",
    ]
    assert notes(TAGS[:2], cosines(1, -1), {}, {"de": 3, "en": 400}) == [
        "de pulls one way and en the other: nothing here is a consensus; fewer than 10 pairs of de tell little",
    ]
    nobody = np.full((2, 2), -0.01) + 1.01 * np.eye(2)
    assert notes(TAGS[:2], nobody.tolist(), {}, {"de": 1, "en": 1}) == [
        "no language agrees with the others: nothing here is a consensus; fewer than 10 pairs of de and en tell little",
    ]


@pytest.mark.parametrize("within", [0.1, 0.4, 0.8])
def test_of_two_equal_camps_nothing_is_a_consensus(within: float) -> None:
    assert notes(TAGS[:4], cosines(1, -1, 1, -1, within=within), dict.fromkeys(TAGS[:4], 0.25)) == [
        "de and fr pull one way and en and ja the other: nothing here is a consensus",
    ]
    assert notes(["de", "en"], cosines(1, -1), {}) == [
        "de pulls one way and en the other: nothing here is a consensus",
    ]


def test_where_nobody_agrees_nothing_is_a_consensus() -> None:
    matrix = np.full((3, 3), -0.2) + 1.2 * np.eye(3)
    assert notes(TAGS[:3], matrix.tolist(), {}) == [
        "no language agrees with the others: nothing here is a consensus",
    ]


def test_a_language_that_shares_nothing_is_not_said_to_pull_against_others() -> None:
    matrix = np.array(cosines(1, 1, 1, 1, 1))
    matrix[4, :4] = matrix[:4, 4] = [-0.01, 0.0, 0.01, -0.01]
    weights = dict.fromkeys(TAGS, 0.25) | {"ko": 0.0}
    assert notes(TAGS, matrix.tolist(), weights) == [
        "ko has nothing in common with the consensus of the others: weight 0",
    ]


def test_one_that_shares_nothing_and_counts_more_than_those_that_agree_is_named() -> None:
    matrix = np.array(cosines(1, 1, 1, 1, 1))
    matrix[4, :4] = matrix[:4, 4] = [-0.01, 0.01, -0.02, -0.02]
    loud = dict.fromkeys(TAGS, 0.15) | {"ko": 0.4}
    nothing = "the labels of ko have nothing in common with the consensus of the others"
    said = f"{nothing}, and yet they count 40.0 % of the direction"
    assert notes(TAGS, matrix.tolist(), loud) == [said]
    assert notes(TAGS, matrix.tolist(), loud, {"ko": 1}) == [f"{said}; fewer than 10 pairs of ko tell little"]
    assert notes(TAGS, matrix.tolist(), dict.fromkeys(TAGS, 0.2)) == []
    assert notes(TAGS, cosines(1, 1, 1, 1, 1), loud) == []


def test_of_very_many_languages_not_all_are_named() -> None:
    tags = [f"l{number:02}" for number in range(40)]
    [note] = notes(tags, cosines(*[1] * 25, *[-1] * 15), {})
    assert note == "the labels of l25, l26, l27, l28, l29, l30, l31, l32 and 7 more pull against all others"


def test_a_language_that_agrees_and_counts_nothing_or_less_is_not_said_to_have_nothing_in_common() -> None:
    alike = cosines(1, 1, 1, within=0.95)
    assert notes(["de", "en", "fr"], alike, {"de": 0.0, "en": 1.0, "fr": 0.0}) == [
        "the aggregator gives de and fr weight 0",
    ]
    assert notes(["de", "en", "fr"], alike, {"de": 0.7, "en": 0.7, "fr": -0.4}) == [
        "the aggregator counts fr against the direction",
    ]
    weights = dict.fromkeys(TAGS, 0.3) | {"ko": -0.2}
    assert notes(TAGS, cosines(1, 1, 1, 1, -1), weights) == [
        "the labels of ko pull against all others, and the aggregator counts them against the direction",
    ]
