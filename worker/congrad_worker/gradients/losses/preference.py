"""The loss that a worker is served with: from log-probabilities of tokens to the loss of each pair."""

from dataclasses import dataclass

import torch
from congrad.contract.losses import ONE_COMPLETION
from torch import Tensor

from congrad_worker.gradients.losses.formulas import LOSSES, Scores, divergence_score
from congrad_worker.loss_names import REFERENCE_FREE
from congrad_worker.settings import GradientSettings


@dataclass(frozen=True)
class TokenLogps:
    """Log-probabilities of the completion tokens of some pairs, packed without padding, in any order."""

    values: Tensor  # float32 [tokens], nats
    completion: Tensor  # int64 [tokens]: 2 * pair + side, side 0 = chosen, 1 = rejected
    offset: Tensor  # int64 [tokens]: the token's position in its completion, from 0
    collisions: Tensor | None = None  # float32 [tokens], nats: log Σ_v π(v)², where the policy's pairs are weighed


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of whole completions, in nats: float32 ``[pairs]`` each."""

    chosen: Tensor
    rejected: Tensor
    unweighted: "PairLogps | None" = None
    """The same without LD-DPO's weights of tokens, where a loss is among several that has none."""
    weights: Tensor | None = None
    """What each pair's loss is multiplied with, float32 ``[pairs]``; 1 if there are none."""
    predicted: Tensor | None = None
    """How many tokens of each completion something stands before, float32 ``[pairs, 2]``, where a loss is among several
    that divides by them; all if there is nothing here."""

    @property
    def sides(self) -> tuple[Tensor, ...]:
        """All that losses reach the model through."""
        own = (self.chosen, self.rejected)
        return own if self.unweighted is None else (*own, *self.unweighted.sides)

    def doubles(self) -> "PairLogps":
        """The same in float64, where derivatives end."""
        return PairLogps(
            self.chosen.detach().double().requires_grad_(),
            self.rejected.detach().double().requires_grad_(),
            None if self.unweighted is None else self.unweighted.doubles(),
            self.weights,
            self.predicted,
        )


class PreferenceLoss:
    """The loss that ``settings`` name, or the weighted sum of several. Differentiable, and without a synchronisation of
    device and host."""

    def __init__(self, settings: GradientSettings):
        losses = settings.losses
        self._settings = settings
        self._terms = list(zip(losses, settings.loss_weights or (1.0,) * len(losses), strict=True))
        self.name = settings.loss
        self.needs_reference = any(loss not in REFERENCE_FREE for loss in losses)
        """Whether the loss looks at the reference's log-probabilities at all."""
        self.compares = any(loss not in ONE_COMPLETION for loss in losses)
        """Whether both completions of a pair are looked at."""
        self.weighs_pairs = settings.use_weighting
        """Whether the policy's `TokenLogps` need to have collisions."""

    def learns_ties(self, is_own_reference: bool) -> bool:
        r"""Whether a pair whose completions are the same has a gradient.

        It is that of the one completion, times the sum of the loss's derivatives in both log-probabilities. A loss of
        their difference has opposite ones; what else moves a completion, as `apo_down` and `sft` do, has not.

        :param is_own_reference: whether the policy is its own reference, so that scores are 0. `nca_pair`, `bco_pair`
            and `sppo_hard` have opposite derivatives there, and only there.
        """
        scores = torch.tensor([0.0] if is_own_reference else [-5.0, -1.0, -0.1, 0.1, 1.0, 5.0], dtype=torch.float64)
        policy = PairLogps(torch.full_like(scores, -20.0), torch.full_like(scores, -20.0)).doubles()
        reference = PairLogps(policy.chosen.detach() - scores, policy.rejected.detach() - scores)
        losses = self(policy, reference, torch.full((len(scores), 2), 4))
        chosen, rejected = torch.autograd.grad(
            losses.sum(), (policy.chosen, policy.rejected), allow_unused=True, materialize_grads=True
        )
        rounding = 1e-9 * torch.maximum(chosen.abs(), rejected.abs())
        return bool(((chosen + rejected).abs() > rounding).any())

    def sequence_logps(self, tokens: TokenLogps, lengths: Tensor) -> PairLogps:
        r"""Sums over completions, of the policy's tokens or the reference's.

        With ``ld_alpha`` = α, tokens beyond the shorter completion of the pair count α (LD-DPO, Liu et al. 2024,
        arXiv 2409.06411):

        .. math:: \log\pi(y|x) = \sum_{t \le \ell} \log p_t + \alpha \sum_{t > \ell} \log p_t,
            \qquad \ell = \min(|y_w|, |y_l|)

        TRL weighs both the policy's and the reference's log-probabilities so, and still divides by whole lengths in
        losses that divide.

        The first token of a sequence without a prompt has no log-probability. TRL's losses without a reference take
        the mean of those that there are, and the others divide by all tokens all the same.

        :param lengths: tokens of the completions, int64 ``[pairs, 2]``.
        """
        weights = pair_weights(tokens, lengths.shape[0]) if tokens.collisions is not None else None
        whole = _sums(tokens.values, tokens, lengths.shape[0])
        alpha = self._settings.ld_alpha
        has_means = any(loss in REFERENCE_FREE for loss, _ in self._terms)
        predicted = _counts(tokens, lengths.shape[0]) if has_means else None
        if alpha is None:
            return PairLogps(*whole, weights=weights, predicted=predicted)
        shared = lengths.amin(1).index_select(0, tokens.completion // 2)  # [tokens]
        values = tokens.values * torch.where(tokens.offset < shared, 1.0, alpha)
        unweighted = PairLogps(*whole) if has_means else None
        return PairLogps(*_sums(values, tokens, lengths.shape[0]), unweighted, weights, predicted)

    def __call__(self, policy: PairLogps, reference: PairLogps, lengths: Tensor) -> Tensor:
        """The loss of each pair.

        :param reference: not looked at unless ``needs_reference``.
        :param lengths: tokens of the completions, int64 ``[pairs, 2]``.
        :returns: float32 ``[pairs]``.
        """
        plain = policy.unweighted or policy
        own = Scores(plain.chosen, plain.rejected, lengths if policy.predicted is None else policy.predicted)
        to_reference = self._compared(policy, reference, lengths) if self.needs_reference else own
        terms = [
            weight * LOSSES[loss](own if loss in REFERENCE_FREE else to_reference, self._settings)
            for loss, weight in self._terms
        ]
        total = torch.stack(terms).sum(0)
        return total if policy.weights is None else policy.weights * total

    def _compared(self, policy: PairLogps, reference: PairLogps, lengths: Tensor) -> Scores:
        chosen, rejected = (
            divergence_score(ratio, self._settings)
            for ratio in (policy.chosen - reference.chosen, policy.rejected - reference.rejected)
        )
        return Scores(chosen, rejected, lengths)


def _sums(values: Tensor, tokens: TokenLogps, pairs: int) -> tuple[Tensor, Tensor]:
    """Of chosen and of rejected completions: ``[pairs]`` each."""
    sums = values.new_zeros(2 * pairs).index_add(0, tokens.completion, values)
    chosen, rejected = sums.view(-1, 2).unbind(1)
    return chosen, rejected


@torch.no_grad()
def pair_weights(tokens: TokenLogps, pairs: int) -> Tensor:
    r"""WPO's weights of pairs, without gradients: float32 ``[pairs]`` (Zhou et al. 2024, arXiv 2406.11827, eq. 2).

    .. math:: w = w(y_w) w(y_l), \qquad
        w(y) = \exp \frac{1}{|y|} \sum_t \Big( \log \pi(y_t) - \log \sum_v \pi(v)^2 \Big)
    """
    assert tokens.collisions is not None
    totals = torch.stack(_sums(tokens.values - tokens.collisions, tokens, pairs))
    return (totals / _counts(tokens, pairs).T.clamp(min=1)).sum(0).exp()


@torch.no_grad()
def _counts(tokens: TokenLogps, pairs: int) -> Tensor:
    """How many tokens there are of each completion: float32 ``[pairs, 2]``."""
    return torch.stack(_sums(torch.ones_like(tokens.values), tokens, pairs), dim=1)
