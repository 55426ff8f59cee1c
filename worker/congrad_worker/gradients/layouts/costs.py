"""What a batch costs beside its tokens, in tokens: what layouts and micro-batches are chosen by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """Counted in tokens that the model could compute meanwhile."""

    batch: int
    """Of a batch: where padding wastes more, two batches are cheaper than one."""
    segment: int = 0
    """Of a part of a row whose attention is a call of its own: where a shared prompt saves less, two rows are
    cheaper."""

    @classmethod
    def of(cls, device: str, layer_weights: float, attends_at_once: bool) -> "Costs":
        """Those of a type of device and a model.

        A GPU is fed by one thread of the host, which needs as long for the operations of a layer whatever their size:
        what it could compute meanwhile depends on how large the layer is.

        :param layer_weights: of the linear layers of one decoder layer.
        :param attends_at_once: whether packed rows have one call of attention.
        """
        if device == "cpu":
            return ON_CPU
        tokens_per_s = MATRIX_RATE / (FLOPS_PER_WEIGHT * max(layer_weights, 1))  # of one layer
        segment = 0 if attends_at_once else round(SEGMENT_S * tokens_per_s)
        return cls(max(ON_CPU.batch, round(LAYER_S * tokens_per_s)), segment)


ON_CPU = Costs(batch=200)
"""Measured: a CPU is slow enough for its overhead to be small."""

MATRIX_RATE = 4e14
"""FLOP/s that a data-centre GPU reaches in the layers of a model, in half precision."""
FLOPS_PER_WEIGHT = 4
"""Of a token, forward and backward through activations."""
LAYER_S = 1.2e-3
"""Of the host for the operations of one layer, hooks included, forward and backward: about 200 at 6 µs."""
SEGMENT_S = 1.5e-4
"""The same for attention of one more segment: about 25."""
