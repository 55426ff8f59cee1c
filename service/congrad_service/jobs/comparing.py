"""Which samples a loss can judge. Free of torch: the service refuses what the workers would."""

from congrad.contract import wire

ONE_COMPLETION = ("sft",)
"""The losses that look at a sample's one completion, or the chosen one. All others compare two."""


def refusal(sample: wire.AnySample, loss: str) -> str | None:
    """Why workers with this loss cannot judge a sample, and what would be right; None where they can."""
    if isinstance(sample, wire.Sample) or loss in ONE_COMPLETION:
        return None
    return (
        f"has a completion and no rejected, and the workers' loss is {loss}, which compares two completions; serve the "
        f"checkpoint with CONGRAD_LOSS={ONE_COMPLETION[0]}"
    )
