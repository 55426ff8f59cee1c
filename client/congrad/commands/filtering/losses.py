"""The loss that the rows of a file need: a stack of the run's own is served with it, and another service should be."""

import os
from collections.abc import Mapping

from congrad.client import Client
from congrad.commands.terminal.output import WRONG, fail
from congrad.contract.losses import LABELLED, ONE_COMPLETION, refusal_of_completion
from congrad.files.samples import Survey

SETTING = "CONGRAD_LOSS"


def needed(found: Survey) -> str | None:
    """The usual loss for rows of one completion each; None where all are pairs, which every loss can judge, or some,
    which a loss for completions would judge by their chosen answers alone."""
    if found.labelled:
        return LABELLED[0]
    return ONE_COMPLETION[0] if found.completions and not is_mixed(found) else None


def is_mixed(found: Survey) -> bool:
    """Whether there are pairs beside completions without a label, and so no loss for both."""
    return found.completions < found.rows and found.labelled < found.completions


def about_loss(found: Survey, is_own_stack: bool) -> str | None:
    """What to say of it before anything is sent; None where there is nothing to say."""
    loss = needed(found)
    if loss is None:
        return _of_two_kinds(found) if is_mixed(found) and not is_own_stack else None
    rows = "completions with a label" if found.labelled else "completions with no rejected one"
    if not is_own_stack:
        refusal = _refusal(loss, found)
        left = "" if refusal is None else f"\nbut {refusal}"
        return f"{rows} need a service with the loss {loss}: {_command(loss)}{left}"
    given = os.environ.get(SETTING)
    return f"{rows}: the stack is served with {SETTING}={given or loss}{', as it is set' if given else ''}"


def served_with(settings: Mapping[str, str], found: Survey) -> dict[str, str]:
    """The settings of a stack of the run's own, for these rows; what is set in the environment stays.

    Ends the command where it is a loss that cannot judge them.
    """
    given = os.environ.get(SETTING)
    if given is None:
        _check_kinds(found)
    loss = given or needed(found)
    if loss is None:
        return dict(settings)
    if (refusal := _refusal(loss, found)) is not None:
        fail(refusal, WRONG)
    return {**settings, SETTING: loss}


def check_loss(client: Client, checkpoint: str | None, found: Survey) -> None:
    """Ends the command where no checkpoint that may be meant is served with a loss that can judge the rows.

    :param checkpoint: its name or fingerprint, where one was named.
    """
    if not found.completions:
        return
    served = [one.loss for one in client.checkpoints() if checkpoint in (None, one.name, one.fingerprint)]
    refusals = [_refusal(one, found) for one in served]
    if refusals and all(refusals):
        _check_kinds(found)
        loss = needed(found) or ONE_COMPLETION[0]
        way = "" if loss in served else f": {_command(loss)}"
        fail(f"{refusals[0]}{way}", WRONG)


def _check_kinds(found: Survey) -> None:
    if is_mixed(found):
        fail(_of_two_kinds(found), WRONG)


def _of_two_kinds(found: Survey) -> str:
    pairs, completions = found.rows - found.completions, found.completions - found.labelled
    first = "" if found.first_plain is None else f" ({'the first is ' * (completions > 1)}{found.first_plain})"
    return (
        f"there are {pairs} pairs, and {completions} rows with one completion, no rejected one and no label{first}: no "
        "loss is for both; filter them as files of their own"
    )


def _refusal(loss: str, found: Survey) -> str | None:
    kinds = [True] * bool(found.labelled) + [False] * (found.completions > found.labelled)
    for is_labelled in kinds:
        if (text := refusal_of_completion(is_labelled, loss)) is not None:
            return f"{'a row' if is_labelled else _plain_rows(found)} {text}"
    return None


def _plain_rows(found: Survey) -> str:
    """The rows of one completion and no label: of many that have one, who is to mend them has to find them."""
    others = found.completions - found.labelled - 1
    if found.first_plain is None or not found.labelled:
        return "a row"
    return found.first_plain + (f", as {others} more {'rows' if others > 1 else 'row'}," if others else "")


def _command(loss: str) -> str:
    """What to type."""
    return f"{SETTING}={loss} congrad up --model PATH, or --model PATH here, which does it by itself"
