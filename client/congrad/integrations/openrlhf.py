"""OpenRLHF: what its DPO makes of a row, as a sample. Checked against OpenRLHF 0.11."""

from collections.abc import Mapping
from typing import Any


def to_sample(
    row: Mapping[str, Any],
    *,
    prompt_key: str | None = None,
    chosen_key: str = "chosen",
    rejected_key: str = "rejected",
    input_template: str | None = None,
) -> dict[str, Any]:
    """The fields of a sample in a row of OpenRLHF's, but for its language.

    The options are those of ``openrlhf.cli.train_dpo``: ``--data.prompt_key`` and so on. Lists of messages are what it
    takes with ``--data.apply_chat_template``; without a prompt of their own, it is all of ``chosen`` but its last turn.
    Strings are what it takes without; without a prompt of their own they have none, whatever they share. The service
    puts an EOS behind them, and a BOS before them if the tokenizer has one, as TRL does; OpenRLHF puts a space before
    the EOS, and no BOS.

    :raises KeyError: the row has no such column.
    :raises ValueError: ``rejected`` does not begin with the prompt that is implicit in ``chosen``.
    """
    chosen, rejected = row[chosen_key], row[rejected_key]
    if isinstance(chosen, str):
        prompt = row[prompt_key] if prompt_key else ""
        if prompt_key and input_template:
            prompt = input_template.format(prompt)
    elif prompt_key:
        prompt = row[prompt_key]
    else:
        turns = len(chosen) - 1
        prompt, chosen, shared, rejected = chosen[:turns], chosen[turns:], rejected[:turns], rejected[turns:]
        if prompt != shared:
            raise ValueError(f"{rejected_key} does not begin with the {turns} turns of the prompt in {chosen_key}")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
