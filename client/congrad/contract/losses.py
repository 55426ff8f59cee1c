"""Which samples a loss can judge. Free of torch: service and client refuse what the workers would."""

from congrad.contract import wire

ONE_COMPLETION = ("sft",)
"""The losses that look at a sample's one completion, or the chosen one."""

LABELLED = ("kto", "apo_zero_unpaired")
"""The losses that look at a completion and its label. A pair is two of them to these. All others compare the two."""


def refusal(sample: wire.AnySample, loss: str) -> str | None:
    """Why workers with this loss cannot judge a sample, and what would be right; None where they can.

    :param loss: as workers announce it, with commas between several that are added up.
    """
    return None if isinstance(sample, wire.Sample) else refusal_of_completion(sample.label is not None, loss)


def refusal_of_completion(is_labelled: bool, loss: str) -> str | None:
    """`refusal` of a completion that has a label, or has none."""
    if loss in LABELLED:
        return None if is_labelled else _without_label(loss)
    if is_labelled:
        return _with_label(loss)
    if all(name in ONE_COMPLETION for name in loss.split(",")):
        return None
    return (
        f"has a completion and no rejected, and the workers' loss is {loss}, which compares two completions; serve the "
        f"checkpoint with CONGRAD_LOSS={ONE_COMPLETION[0]}"
    )


def _without_label(loss: str) -> str:
    return (
        f"has a completion without a label, and the workers' loss is {loss}, which needs one: true where the "
        "completion is wanted, false where it is not (in a table, a column label of booleans)"
    )


def _with_label(loss: str) -> str:
    one = loss in ONE_COMPLETION
    does = "learns every completion, unwanted ones too" if one else "compares two completions"
    remedy = "leave the label out, or serve" if one else "serve"
    return (
        f"has a completion with a label, and the workers' loss is {loss}, which {does}; {remedy} the checkpoint with "
        f"CONGRAD_LOSS={LABELLED[0]}"
    )
