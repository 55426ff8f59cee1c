"""What the columns and the arms of the report are."""

from benchmarks.memory import METHODS


def reading(device: str) -> list[str]:
    """One line each."""
    return [
        "ratio: seconds over those of the plain DPO step in the same round; the median of the rounds, and their range. "
        "All arms take every round in a shuffled order, on the same pairs.",
        "plain DPO step: forward and backward with all weights trained, logits of every position, chosen and rejected "
        "as two rows of one padded batch, pairs of like length together. The reference is the policy itself (no second "
        "forward), and no attention mask is passed, which padding at the end does not need. No optimizer step.",
        "tokens/s: tokens of prompt + chosen and prompt + rejected, without padding: the same number for each arm.",
        f"peak: memory beyond the weights and what the arm keeps between batches; {METHODS[device]}.",
        "kept: projections.",
        "error: ‖found − truth‖ / ‖truth‖, the worst of a few pairs and of the comparisons in the JSON file. Truth is "
        "plain autograd on the weights, each sequence alone. `exact` compares uncompressed gradients, `compressed` the "
        "compressed ones with the projection of autograd's, `summed` a batch's sum.",
        "one pair at a time: gradients of the target modules' weights alone, so embeddings and head cost it nothing.",
        "bergson: its collector with 16 × 16 numbers a module (the default of its compressing command; its own `build` "
        "compresses nothing by default), on the same batches. As in its own set-up the input embeddings are "
        "trainable, so where embeddings and head are tied the head's weight gradient is computed too. Its error is "
        "that of its gradients with its projection off.",
        "CONGRAD: on micro-batches of its own, which hold as many tokens at most; those with padding are closed early "
        "where a shorter pair would be mostly that. The last of its arms is what serves.",
        "FLOPs / rate (GPU): model FLOPs per second over the measured rate of matrix products. Model FLOPs are 2 "
        "(forward), 4 (and a backward of activations), 6 (and of weights) or 8 (and a reference forward) per token and "
        "weight of the target modules. Tokens of both rows are counted, with the prompt twice, except where it is "
        "computed once.",
    ]
