"""What the cosines between languages say of their labels, in plain words, whatever aggregator made the direction.

Languages of one model that are labelled alike pull alike. One whose labels are inverted pulls against all others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

NOTHING = 5e-4
"""A weight below this is said to be 0."""

APART = -0.02
"""A mean cosine above this is no pulling apart: that of a language without a direction is about 0, on either side."""

ALIKE = 0.02
"""A mean cosine up to this is nothing in common, for the same reason."""

LOUD = 1.5
"""Times what it would count if all counted alike: more than that is much of the direction. Gradients of junk are alike,
and so are few ones; their mean is long, and counts for its length."""

NAMED = 8
"""Languages that are named in one note; of more the first are."""

FEW = 10
"""Pairs of a language: the cosines of fewer are chance to a good part."""


def notes(
    tags: Sequence[str],
    cosines: Sequence[Sequence[float]],
    weights: Mapping[str, float],
    samples: Mapping[str, int] | None = None,
) -> list[str]:
    """What a person should look at; nothing where languages agree, or where there is but one.

    :param cosines: of the languages' gradients, ``[L, L]``, in the order of ``tags``.
    :param weights: what each language counts in the direction; nothing where that is not known.
    :param samples: how many pairs each language has; None where that is not known.
    """
    if len(tags) < 2:
        return []
    pairs = samples or {}
    matrix = np.array(cosines, dtype=np.float64)
    np.fill_diagonal(matrix, 0.0)
    if camps := _equal_camps(matrix):
        one, other = ([tags[i] for i in camp] for camp in camps)
        pull = "pulls" if len(one) == 1 else "pull"
        said = f"{_named(one)} {pull} one way and {_named(other)} the other: nothing here is a consensus"
        return [said + _of_few(tags, pairs)]
    against = _minority(matrix)
    if (matrix.sum(1) <= 0).all() and not (against and _has_majority(against, matrix)):
        return ["no language agrees with the others: nothing here is a consensus" + _of_few(tags, pairs)]
    found = [_against(against, tags, matrix, weights) + _of_few([tags[i] for i in against], pairs)] if against else []
    others = [i for i in range(len(tags)) if i not in against]
    found += _loud(others, tags, matrix, weights, pairs)
    return found + _unheard([i for i in others if weights.get(tags[i], 1.0) < NOTHING], tags, matrix, weights)


def _of_few(tags: Sequence[str], pairs: Mapping[str, int]) -> str:
    """What is said beside, where languages have so few pairs that chance may have said the rest."""
    few = [tag for tag in tags if pairs.get(tag, FEW) < FEW]
    return f"; fewer than {FEW} pairs of {_named(few)} tell little" if few else ""


def _loud(
    asked: list[int],
    tags: Sequence[str],
    matrix: np.ndarray,
    weights: Mapping[str, float],
    pairs: Mapping[str, int],
) -> list[str]:
    """What is said of languages that agree with nobody, and yet count for more than those that do."""
    shared = {i: matrix[i, asked].sum() / max(len(asked) - 1, 1) for i in asked}  # zeros on the diagonal
    named = [tags[i] for i in asked if shared[i] <= ALIKE and weights.get(tags[i], 0.0) > LOUD / len(tags)]
    if not named:
        return []
    said = f"the labels of {_named(named)} have nothing in common with the consensus of the others"
    return [said + _weighing(named, weights) + _of_few(named, pairs)]


def _unheard(found: list[int], tags: Sequence[str], matrix: np.ndarray, weights: Mapping[str, float]) -> list[str]:
    """What is said of languages that count nothing, or less. Some aggregators take those that agree with all others for
    spare, as the shortest gradient stands for them, and give others a negative weight."""
    heard = [i for i in range(len(tags)) if i not in found]
    minus = [tags[i] for i in found if weights[tags[i]] <= -NOTHING]
    zero = [i for i in found if tags[i] not in minus]
    apart = [tags[i] for i in zero if not heard or matrix[i, heard].mean() <= ALIKE]
    spare = [tags[i] for i in zero if tags[i] not in apart]
    said = []
    if apart:
        said.append(f"{_named(apart)} {_has(apart)} nothing in common with the consensus of the others: weight 0")
    if spare:
        said.append(f"the aggregator gives {_named(spare)} weight 0")
    if minus:
        said.append(f"the aggregator counts {_named(minus)} against the direction")
    return said


def _camps(matrix: np.ndarray) -> tuple[list[int], list[int]]:
    """Who is on which side of the axis that parts the languages most, the fewer first; nobody is where all agree.

    The axis is the first principal one of the cosines: where all are positive, its entries have one sign.
    """
    vector = np.linalg.eigh(matrix)[1][:, -1]
    sides = [np.flatnonzero(vector < 0).tolist(), np.flatnonzero(vector >= 0).tolist()]
    fewer, more = sorted(sides, key=len)
    return fewer, more


def _equal_camps(matrix: np.ndarray) -> tuple[list[int], list[int]] | None:
    """Two that are as many, and pull against each other."""
    one, other = _camps(matrix)
    if len(one) != len(other) or matrix[np.ix_(one, other)].mean() > APART:
        return None
    return (one, other) if one[0] < other[0] else (other, one)


def _minority(matrix: np.ndarray) -> list[int]:
    """The languages that pull against most others taken together."""
    fewer, more = _camps(matrix)
    return [i for i in fewer if matrix[i, more].mean() <= APART]


def _has_majority(against: list[int], matrix: np.ndarray) -> bool:
    """Whether those that the others pull against agree among themselves. Of three languages one, and of five two, can
    pull against the others as hard as these agree: then no language has more agreement than opposition."""
    others = [i for i in range(len(matrix)) if i not in against]
    within = matrix[np.ix_(others, others)].sum() / max(len(others) * (len(others) - 1), 1)  # zeros on the diagonal
    return bool(within > ALIKE)


def _against(against: list[int], tags: Sequence[str], matrix: np.ndarray, weights: Mapping[str, float]) -> str:
    others = [i for i in range(len(tags)) if i not in against]
    opposed = (matrix[np.ix_(against, others)] < 0).mean(1)  # by each of them, in shares of the others
    whom = "all others" if opposed.min() == 1 else "most others" if opposed.min() > 0.5 else "the others together"
    named = [tags[i] for i in against]
    return f"the labels of {_named(named)} pull against {whom}{_weighing(named, weights)}"


def _weighing(named: Sequence[str], weights: Mapping[str, float]) -> str:
    """What they count nevertheless."""
    known = [weights[tag] for tag in named if tag in weights]
    if not known:
        return ""
    if max(map(abs, known)) < NOTHING:
        return ": weight 0"
    if sum(known) < 0:
        return ", and the aggregator counts them against the direction"
    share = f"{sum(known):.1%}".replace("%", " %")
    return f", and yet they count {share} of the direction"


def _named(tags: Sequence[str]) -> str:
    """Like "de, fr and ja"."""
    if len(tags) > NAMED:
        return f"{', '.join(tags[:NAMED])} and {len(tags) - NAMED} more"
    return " and ".join(filter(None, [", ".join(tags[:-1]), tags[-1]]))


def _has(tags: Sequence[str]) -> str:
    return "has" if len(tags) == 1 else "have"
