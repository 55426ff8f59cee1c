"""Pairs of messages whose prompt is what both sides begin with, and those that begin with none."""

from congrad.contract.samples import Sample


def missing_prompt(sample: Sample) -> str | None:
    """Why there is no prompt before the messages of a pair; None where there is one, and for texts, which need none.

    A prompt that is a string is no prompt to messages, as in TRL. Where one side is the beginning of the other its last
    message is a completion, so that a prompt takes a second one.
    """
    chosen, rejected = sample.chosen, sample.rejected
    if isinstance(sample.prompt, list) or isinstance(chosen, str) or isinstance(rejected, str):
        return None
    if chosen[0] != rejected[0]:
        fault = "chosen and rejected begin with different messages, so there is no prompt"
    elif min(len(chosen), len(rejected)) == 1:
        fault = f"{'chosen' if len(chosen) == 1 else 'rejected'} is one message, so there is no prompt before it"
    else:
        return None
    beside = "; beside messages the prompt should be a list of messages too, and it is a string"
    return fault if sample.prompt is None else fault + beside
