"""Standard input and standard error where whoever starts the command has closed them, as some supervisors do."""

import os
import sys


def open_what_is_closed() -> None:
    """Has them lead to nothing. Python has None in their place, and the next file that is opened would have their
    number: what is meant for a terminal would go into it.

    Standard output stays as it is: what was asked to go there can then not be written, which is an error.
    """
    if sys.stdin is None:
        _to_nothing(0)
        sys.stdin = os.fdopen(0)
    if sys.stderr is None:
        _to_nothing(2)
        sys.stderr = os.fdopen(2, "w")


def _to_nothing(number: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing == number:
        os.set_inheritable(number, True)  # as `dup2` does: parts of a stack have them too
    else:
        os.dup2(nothing, number)
        os.close(nothing)
