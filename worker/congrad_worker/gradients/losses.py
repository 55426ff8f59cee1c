r"""Preference losses of single pairs, under TRL's names; those of its `DPOTrainer` equal TRL 1.16's on a batch of one.

A completion's *score* is :math:`s = \log\pi(y|x) - \log\pi_\mathrm{ref}(y|x)`, or :math:`\log\pi(y|x)` where a loss has
no reference; :math:`\Delta = s_w - s_l` is chosen minus rejected, :math:`\bar\Delta = s_w/|y_w| - s_l/|y_l|` the same
per token. Lengths are in tokens; to divide by, that of a completion cut to nothing is 1: its score is 0 and not NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from congrad_service.jobs.comparing import ONE_COMPLETION
from torch import Tensor

from congrad_worker.settings import REFERENCE_FREE, GradientSettings, Loss


@dataclass(frozen=True)
class TokenLogps:
    """Log-probabilities of the completion tokens of some pairs, packed without padding, in any order."""

    values: Tensor  # float32 [tokens], nats
    completion: Tensor  # int64 [tokens]: 2 * pair + side, side 0 = chosen, 1 = rejected
    offset: Tensor  # int64 [tokens]: the token's position in its completion, from 0


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of whole completions, in nats: float32 ``[pairs]`` each."""

    chosen: Tensor
    rejected: Tensor


@dataclass(frozen=True)
class Scores:
    """What losses compare: the scores of both completions, and their lengths."""

    chosen: Tensor  # float32 [pairs], nats
    rejected: Tensor  # float32 [pairs], nats
    lengths: Tensor  # int64 [pairs, 2], tokens

    @property
    def delta(self) -> Tensor:
        """Δ: float32 ``[pairs]``."""
        return self.chosen - self.rejected

    @property
    def per_token(self) -> "Scores":
        """The scores divided by the lengths."""
        chosen, rejected = self.lengths.clamp(min=1).unbind(1)
        return Scores(self.chosen / chosen, self.rejected / rejected, self.lengths)


class PreferenceLoss:
    """The loss that ``settings`` name. Differentiable, and without a synchronisation of device and host."""

    def __init__(self, settings: GradientSettings):
        self._loss = LOSSES[settings.loss]
        self._settings = settings
        self.name: Loss = settings.loss
        self.needs_reference = settings.loss not in REFERENCE_FREE
        """Whether the loss looks at the reference's log-probabilities at all."""
        self.compares = settings.loss not in ONE_COMPLETION
        """Whether the gradient of a pair is zero where both completions are the same."""

    def sequence_logps(self, tokens: TokenLogps, lengths: Tensor) -> PairLogps:
        r"""Sums over completions, of the policy's tokens or the reference's.

        With ``ld_alpha`` = α, tokens beyond the shorter completion of the pair count α (LD-DPO, Liu et al. 2024,
        arXiv 2409.06411):

        .. math:: \log\pi(y|x) = \sum_{t \le \ell} \log p_t + \alpha \sum_{t > \ell} \log p_t,
            \qquad \ell = \min(|y_w|, |y_l|)

        TRL weighs both the policy's and the reference's log-probabilities so, and still divides by whole lengths in
        losses that divide.

        :param lengths: tokens of the completions, int64 ``[pairs, 2]``.
        """
        values = tokens.values
        if self._settings.ld_alpha is not None:
            shared = lengths.amin(1).index_select(0, tokens.completion // 2)  # [tokens]
            values = values * torch.where(tokens.offset < shared, 1.0, self._settings.ld_alpha)
        sums = values.new_zeros(lengths.numel()).index_add(0, tokens.completion, values)
        chosen, rejected = sums.view(-1, 2).unbind(1)
        return PairLogps(chosen, rejected)

    def __call__(self, policy: PairLogps, reference: PairLogps, lengths: Tensor) -> Tensor:
        """The loss of each pair.

        :param reference: not looked at unless ``needs_reference``.
        :param lengths: tokens of the completions, int64 ``[pairs, 2]``.
        :returns: float32 ``[pairs]``.
        """
        if not self.needs_reference:
            return self._loss(Scores(policy.chosen, policy.rejected, lengths), self._settings)
        ratios = Scores(policy.chosen - reference.chosen, policy.rejected - reference.rejected, lengths)
        return self._loss(ratios, self._settings)


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


LOSSES: dict[Loss, Callable[[Scores, GradientSettings], Tensor]] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "ipo": ipo,
    "robust": robust,
    "sigmoid_norm": sigmoid_norm,
    "sft": sft,
    "simpo": simpo,
    "lp": lp,
}
