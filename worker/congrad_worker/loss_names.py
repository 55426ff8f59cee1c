"""The losses that can be asked for, by TRL's names, and which settings each of them looks at. Knows no formula."""

from collections.abc import Callable, Sequence
from typing import Literal, cast, get_args

from congrad.contract.losses import LABELLED

Loss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
    "discopop", "sigmoid_norm", "sft", "simpo", "lp", "kto", "apo_zero_unpaired",
]  # fmt: skip

LOSS_NAMES: tuple[Loss, ...] = get_args(Loss)

REFERENCE_FREE: tuple[Loss, ...] = ("sft", "simpo")
"""The losses that compare the policy with no reference."""

OF_DIFFERENCES: tuple[Loss, ...] = ("sigmoid", "hinge", "ipo", "exo_pair", "robust", "discopop", "sigmoid_norm", "lp")
"""The losses of the difference of two scores, and so those that f-divergences are defined for: a score of an f-DPO is
known up to a term that both completions of a prompt have in common."""

OF_BATCHES = ("aot", "aot_unpaired")
"""Losses of TRL that a sample alone does not have."""

_UNUSED: dict[str, Callable[[Loss], bool]] = {
    "reference": lambda loss: loss in REFERENCE_FREE,
    "beta": lambda loss: loss == "sft",
    "label_smoothing": lambda loss: loss not in ("robust", "exo_pair"),
    "simpo_gamma": lambda loss: loss != "simpo",
    "length_penalty": lambda loss: loss != "lp",
    "discopop_tau": lambda loss: loss != "discopop",
    "ld_alpha": lambda loss: loss in REFERENCE_FREE or loss in LABELLED,
    "f_divergence_type": lambda loss: loss in REFERENCE_FREE,
    "f_alpha_divergence_coef": lambda loss: loss in REFERENCE_FREE,
    "desirable_weight": lambda loss: loss not in LABELLED,
    "undesirable_weight": lambda loss: loss not in LABELLED,
    "use_weighting": lambda loss: loss in REFERENCE_FREE or loss in LABELLED,
}
"""Which losses have no use for a setting."""

SETTINGS = tuple(_UNUSED)
"""The settings that losses look at."""


def losses_of(text: str) -> tuple[Loss, ...]:
    """The losses of a list with commas between them.

    :raises ValueError: one of them is none, or they are not to be added up; the message says which, and what is right.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name in OF_BATCHES:
            raise ValueError(
                f"{name} ranks the pairs of a batch among each other, so that a pair by itself has no such loss; where "
                "the reference is the policy, as is the default, sigmoid has the same gradients, to scale"
            )
        if name not in LOSS_NAMES:
            known = ", ".join(f"'{loss}'" for loss in LOSS_NAMES)
            raise ValueError(f"{name!r} is no loss; it should be {known}, or several of them with commas")
    if len(names) > 1 and (labelled := [name for name in names if name in LABELLED]):
        raise ValueError(f"{labelled[0]} judges one completion by its label, and is not added to other losses")
    return cast("tuple[Loss, ...]", tuple(names))


def is_unused(setting: str, losses: Sequence[Loss]) -> bool:
    """Whether a setting has no effect with these losses."""
    return all(_UNUSED[setting](loss) for loss in losses)


def without_divergence(losses: Sequence[Loss]) -> list[Loss]:
    """Those of ``losses`` that have a reference and no form for other f-divergences than `reverse_kl`."""
    return [loss for loss in losses if loss not in OF_DIFFERENCES and loss not in REFERENCE_FREE]
