"""How a run ends that does not come to its end: with what it leaves behind, and how it can go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from congrad.commands.filtering.asking import GradientsGoneError, Run
from congrad.commands.filtering.journal import Journal
from congrad.commands.terminal.output import FAILED, INTERRUPTED, WRONG, explained, fail, status_of
from congrad.errors import APIStatusError, ConflictError, CongradError, JobFailedError
from congrad.files.kinds.rows import FileError


@contextmanager
def without_answers(run: Run, journal: Journal, path: Path | None, *, ends_with_run: bool = False) -> Iterator[None]:
    """Ends the command where the answers that the block waits for do not come.

    :param path: where the journal lies; None where it is not written down.
    :param ends_with_run: whether the service does, and what it is at with it.
    :raises FileError: the rows cannot be read: that is not for the service to mend.
    """
    try:
        yield
    except FileError:
        raise
    except GradientsGoneError as error:
        fail(f"{error}\n{_without_gradients(run, error.has_rows)}", FAILED)
    except ConflictError as error:  # with what is there, such as a direction of another checkpoint: it is so again
        fail(f"{explained(error)}\n{_left(run, journal, path, once='once that is no more so, ')}", status_of(error))
    except APIStatusError as error:
        status = status_of(error)
        # Of a job that has failed it is in the words only which row is at fault.
        names_rows = bool(error.samples) or isinstance(error, JobFailedError)
        mend = "\nwhere a row is at fault, correct it or take it out first" if status == WRONG and names_rows else ""
        fail(f"{explained(error)}\n{_left(run, journal, path)}{mend}", status)
    except CongradError as error:
        fail(f"{explained(error)}\n{_left(run, journal, path)}", FAILED)
    except KeyboardInterrupt:
        left = _left(run, journal, path)
        if journal.is_of_use and not ends_with_run:
            left += _under_way(run, journal, path)
        fail(f"interrupted; {left}", INTERRUPTED)


@contextmanager
def without_outputs(path: Path | None) -> Iterator[None]:
    """Ends the command where the outputs that the block writes cannot be written.

    :param path: where the journal lies.
    """
    try:
        yield
    except FileError as error:
        left = "the decisions are lost"
        if path is not None:
            left = (
                f"the decisions are kept in {path}: the same command goes on from there, also with another "
                "--output-format, such as jsonl, or another --dropped"
            )
        fail(f"{error}\n{left}", FAILED)


def _without_gradients(run: Run, has_rows: bool) -> str:
    """How it goes on where what was folded in cannot be scored again."""
    direction = f"direction {run.asked.direction!r}"
    if has_rows:
        return (
            f"all {run.found.rows} rows are in {direction}: the same command with --no-update --restart scores them "
            "against it, and folds nothing in"
        )
    return (
        f"{direction} no longer has all rows that were folded in: it was reset or replaced, or Redis has lost data; "
        "the same command with --restart begins anew, and folds in what is missing"
    )


def _under_way(run: Run, journal: Journal, path: Path | None) -> str:
    """What becomes of the requests that were sent and are not answered."""
    goes_on = "\nwhat was under way goes on at the service"
    if path is None:
        return goes_on
    same = "" if run.answered(journal) else f": the same command takes up the answers, which {path} is for"
    return f"{goes_on}{same or ', and is taken up too'}"


def _left(run: Run, journal: Journal, path: Path | None, once: str = "") -> str:
    answered = run.answered(journal)
    if not answered:
        return "nothing was written"
    done = f"{answered} of {run.found.rows} rows have decisions"
    if path is None:
        return f"{done}, which are lost: only with -o FILE a run can go on where it stopped"
    return f"{done}, kept in {path}: {once}the same command goes on from there"
