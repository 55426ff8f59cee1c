r"""Preference losses, under TRL's names.

With the margins :math:`h = \log\pi(y_w|x) - \log\pi(y_l|x)` of policy and reference, DPO's is

.. math:: \ell = -\log\sigma(\beta\,(h_\pi - h_\mathrm{ref}))

(Rafailov et al. 2023, eq. 7; TRL's ``sigmoid``).
"""

import torch.nn.functional as F
from torch import Tensor


def sigmoid(margins: Tensor, ref_margins: Tensor, beta: float) -> Tensor:
    """DPO's loss of each pair.

    :param margins: log-probability of chosen minus rejected under the policy, in nats, ``[pairs]``.
    :param ref_margins: the same under the reference, ``[pairs]``.
    :returns: ``[pairs]``.
    """
    return -F.logsigmoid(beta * (margins - ref_margins))
