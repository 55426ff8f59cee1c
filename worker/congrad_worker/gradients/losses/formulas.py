r"""Preference losses of single pairs, under TRL's names; those of its trainers equal TRL 1.16's on a batch of one.

A completion's *score* is :math:`s = \log\pi(y|x) - \log\pi_\mathrm{ref}(y|x)`, or :math:`\log\pi(y|x)` where a loss has
no reference; :math:`\Delta = s_w - s_l` is chosen minus rejected, :math:`\bar\Delta = s_w/|y_w| - s_l/|y_l|` the same
per token. Lengths are in tokens, and where a loss has no reference only those count that something stands before; to
divide by, that of a completion cut to nothing is 1: its score is 0 and not NaN.

A loss that needs a whole batch, a pair by itself does not have. `kto` is served all the same: what it takes from a
batch sets how much a completion counts, and not where its gradient points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from congrad_worker.loss_names import Loss
from congrad_worker.settings import GradientSettings


@dataclass(frozen=True)
class Scores:
    """What losses compare: the scores of both completions, and their lengths."""

    chosen: Tensor  # float32 [pairs], nats
    rejected: Tensor  # float32 [pairs], nats
    lengths: Tensor  # int64 or float32 [pairs, 2], tokens

    @property
    def delta(self) -> Tensor:
        """Δ: float32 ``[pairs]``."""
        return self.chosen - self.rejected

    @property
    def per_token(self) -> "Scores":
        """The scores divided by the lengths."""
        chosen, rejected = self.lengths.clamp(min=1).unbind(1)
        return Scores(self.chosen / chosen, self.rejected / rejected, self.lengths)


LARGEST_EXPONENT = 80.0
"""TRL's bound, so that float32 holds the exponential."""


def divergence_score(ratio: Tensor, given: GradientSettings) -> Tensor:
    r"""f-DPO's score :math:`f'(t)` of a log-ratio :math:`\log t` (Wang et al. 2023, arXiv 2309.16240).

    Reverse KL, the usual one, has :math:`\log t`, less a constant; forward KL :math:`1 - 1/t`, Jensen-Shannon
    :math:`\log \frac{2t}{t + 1}`, and the α-divergence :math:`(t^{\alpha - 1} - 1) / (\alpha - 1)`, as in TRL.
    """
    kind, exponent = given.f_divergence_type, given.f_alpha_divergence_coef - 1
    if kind == "forward_kl":
        return 1 - torch.exp(-ratio)
    if kind == "js_divergence":
        return math.log(2) + F.logsigmoid(ratio)
    if kind == "alpha_divergence" and abs(exponent) >= 1e-6:  # at 1 it is reverse KL
        return (torch.exp((exponent * ratio).clamp(max=LARGEST_EXPONENT)) - 1) / exponent
    return ratio


def probability(logits: Tensor) -> Tensor:
    r"""σ, with a derivative :math:`\sigma(x)\sigma(-x)` that is right however large x is. That of `torch.sigmoid` is
    :math:`y(1 - y)`, which is rounding and then 0 where y is nearly 1."""
    return torch.exp(F.logsigmoid(logits))


def sigmoid(scores: Scores, given: GradientSettings) -> Tensor:
    r"""DPO: :math:`-\log\sigma(\beta\Delta)` (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""
    return -F.logsigmoid(given.beta * scores.delta)


def hinge(scores: Scores, given: GradientSettings) -> Tensor:
    r"""SLiC's: :math:`\max(0, 1 - \beta\Delta)` (Zhao et al. 2023, arXiv 2305.10425).

    Beyond the margin the gradient is zero: such a pair has no conflict score.
    """
    return torch.relu(1 - given.beta * scores.delta)


def ipo(scores: Scores, given: GradientSettings) -> Tensor:
    r"""IPO: :math:`(\bar\Delta - 1/2\beta)^2` (Azar et al. 2023, arXiv 2310.12036, eq. 17, where β is τ).

    Scores are per token, which the paper does not say; TRL has it from its authors. Beyond the margin 1/2β the gradient
    turns round, and the pair is unlearnt.
    """
    return (scores.per_token.delta - 1 / (2 * given.beta)) ** 2


def robust(scores: Scores, given: GradientSettings) -> Tensor:
    r"""Robust DPO, for a share ε = ``label_smoothing`` of wrong labels (Chowdhury et al. 2024, arXiv 2403.00409).

    .. math:: \frac{-(1-\varepsilon)\log\sigma(\beta\Delta) + \varepsilon\log\sigma(-\beta\Delta)}{1 - 2\varepsilon}
    """
    logits, share = given.beta * scores.delta, given.label_smoothing
    return (share * F.logsigmoid(-logits) - (1 - share) * F.logsigmoid(logits)) / (1 - 2 * share)


def sigmoid_norm(scores: Scores, given: GradientSettings) -> Tensor:
    r"""Length-normalised DPO: :math:`-\log\sigma(\beta\bar\Delta)` (Lambert et al. 2024, arXiv 2411.15124)."""
    return -F.logsigmoid(given.beta * scores.per_token.delta)


def sft(scores: Scores, _: GradientSettings) -> Tensor:
    r"""The chosen, or only, completion's mean loss: :math:`-\log\pi(y_w|x) / |y_w|`, without a reference.

    TRL takes the mean over all such tokens of a batch, so that a sample weighs as much as it is long. Here every sample
    weighs the same, as in batches of one.
    """
    return -scores.per_token.chosen


def simpo(scores: Scores, given: GradientSettings) -> Tensor:
    r"""SimPO: :math:`-\log\sigma(\beta\bar\Delta - \gamma)`, without a reference (Meng et al. 2024, arXiv 2405.14734).

    γ is ``simpo_gamma``, in units of βΔ̄ as in TRL's `CPOTrainer` (with ``cpo_alpha=0``) and not the paper's ratio γ/β.
    """
    return -F.logsigmoid(given.beta * scores.per_token.delta - given.simpo_gamma)


def lp(scores: Scores, given: GradientSettings) -> Tensor:
    r"""Length-penalised DPO: :math:`-\log\sigma(\beta\Delta + \alpha(|y_w| - |y_l|))`, with α = ``length_penalty``.

    The form is R-DPO's (Park et al. 2024, arXiv 2403.19159). CONGRAD trains with an "LP-DPO" whose equation is not
    public; TRL has neither.
    """
    chosen, rejected = scores.lengths.unbind(1)
    return -F.logsigmoid(given.beta * scores.delta + given.length_penalty * (chosen - rejected))


def exo_pair(scores: Scores, given: GradientSettings) -> Tensor:
    r"""EXO for preferences (Ji et al. 2024, arXiv 2402.00856, eq. 16), with ε = ``label_smoothing``.

    .. math:: \sigma(\beta\Delta) \log\frac{\sigma(\beta\Delta)}{1 - \varepsilon}
        + \sigma(-\beta\Delta) \log\frac{\sigma(-\beta\Delta)}{\varepsilon}
    """
    logits, share = given.beta * scores.delta, given.label_smoothing
    return probability(logits) * (F.logsigmoid(logits) - math.log1p(-share)) + probability(-logits) * (
        F.logsigmoid(-logits) - math.log(share)
    )


def nca_pair(scores: Scores, given: GradientSettings) -> Tensor:
    r"""NCA for preferences (Chen et al. 2024, arXiv 2402.05369).

    .. math:: -\log\sigma(\beta s_w) - \tfrac12 \log\sigma(-\beta s_w) - \tfrac12 \log\sigma(-\beta s_l)
    """
    chosen, rejected = given.beta * scores.chosen, given.beta * scores.rejected
    return -F.logsigmoid(chosen) - (F.logsigmoid(-chosen) + F.logsigmoid(-rejected)) / 2


def bco_pair(scores: Scores, given: GradientSettings) -> Tensor:
    r"""BCO: :math:`-\log\sigma(\beta s_w) - \log\sigma(-\beta s_l)` (Jung et al. 2024, arXiv 2404.04656).

    Without the paper's running mean δ of rewards, which TRL's `DPOTrainer` does not have either.
    """
    return -F.logsigmoid(given.beta * scores.chosen) - F.logsigmoid(-given.beta * scores.rejected)


def sppo_hard(scores: Scores, given: GradientSettings) -> Tensor:
    r"""SPPO with certain preferences: :math:`(s_w - 1/2\beta)^2 + (s_l + 1/2\beta)^2` (Wu et al. 2024, arXiv
    2405.00675, eq. 4.7)."""
    margin = 1 / (2 * given.beta)
    return (scores.chosen - margin) ** 2 + (scores.rejected + margin) ** 2


def apo_zero(scores: Scores, given: GradientSettings) -> Tensor:
    r"""APO-zero: :math:`1 - \sigma(\beta s_w) + \sigma(\beta s_l)` (D'Oosterlinck et al. 2024, arXiv 2408.06266)."""
    return 1 - probability(given.beta * scores.chosen) + probability(given.beta * scores.rejected)


def apo_down(scores: Scores, given: GradientSettings) -> Tensor:
    r"""APO-down: :math:`\sigma(\beta s_w) + 1 - \sigma(\beta\Delta)` (D'Oosterlinck et al. 2024, arXiv 2408.06266).

    For policies that are better than the chosen completions: it makes both less likely, the rejected one more so.
    """
    return probability(given.beta * scores.chosen) + 1 - probability(given.beta * scores.delta)


def discopop(scores: Scores, given: GradientSettings) -> Tensor:
    r"""DiscoPOP (Lu et al. 2024, arXiv 2406.08414, eq. 5), with τ = ``discopop_tau`` and :math:`x = \beta\Delta`.

    .. math:: -(1 - \sigma(x/\tau)) \log\sigma(x) + \sigma(x/\tau) e^{-x}
    """
    logits = given.beta * scores.delta
    share = F.logsigmoid(logits / given.discopop_tau)
    # One exponential, as two are infinity times 0 where βΔ is far below 0.
    return -F.logsigmoid(logits) * (1 - torch.exp(share)) + torch.exp(share - logits)


def unpaired(scores: Scores, given: GradientSettings) -> Tensor:
    r"""`kto` and `apo_zero_unpaired` of TRL's `KTOTrainer`: the loss of one completion, by its label.

    .. math:: \lambda_D (1 - \sigma(\beta s_w)) \quad\text{or}\quad \lambda_U (1 - \sigma(-\beta s_l))

    A completion that is wanted is the chosen one of a pair without a rejected, and one that is not the other way round;
    λ are ``desirable_weight`` and ``undesirable_weight``. A whole pair is its two completions, and has their mean.

    KTO (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7) has :math:`\beta(s - \mathrm{KL})` in place of
    :math:`\beta s`, with an estimate of the policy's divergence from the reference over a batch, which is not
    differentiated. Here KL is 0: so it is where the reference is the policy, and elsewhere it would only change how
    much a completion counts.
    """
    chosen = 1 - probability(given.beta * scores.chosen)
    rejected = probability(given.beta * scores.rejected)
    is_given = (scores.lengths > 0).to(chosen.dtype)
    losses = torch.stack((given.desirable_weight * chosen, given.undesirable_weight * rejected), dim=1) * is_given
    return losses.sum(1) / is_given.sum(1).clamp(min=1)


LOSSES: dict[Loss, Callable[[Scores, GradientSettings], Tensor]] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "ipo": ipo,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "robust": robust,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "sigmoid_norm": sigmoid_norm,
    "sft": sft,
    "simpo": simpo,
    "lp": lp,
    "kto": unpaired,
    "apo_zero_unpaired": unpaired,
}
