"""A file beside the output that holds the answers so far, so that a run that was cut short goes on where it stopped.

Its first line says what was asked, and has the key under which the service recognises requests. Each further line is an
answer, with a digest of each sample that it is about: a row has its answer wherever it stands by then, and only a row
that is new, or was mended, is sent. A line is on the disk before the next answer is waited for; the answers that were
under way when the run was killed are the service's to remember, which it does for an hour.
"""

import fcntl
import json
import os
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from congrad.commands.filtering.retained import Retained
from congrad.contract import wire
from congrad.errors import CongradError
from congrad.files.kinds.rows import FileError
from congrad.files.streams import resolved

FORMAT = 2
OPTIONS = {
    "batch_size": "--batch-size",
    "checkpoint": "--checkpoint",
    "direction": "--direction",
    "retain": "--retain",
    "two_pass": "--two-pass",
    "update": "--update",
    "url": "--url or --model",
}
"""What those of a question are called that an option says alone."""

BEGINNING = b'{"congrad_journal"'

Json = dict[str, Any]


class OtherQuestionError(Exception):
    """What the journal answers is not what is asked. The message says what it was."""


class OtherReleaseError(Exception):
    """The journal has answers in the form of another release."""


class JournalError(CongradError):
    """An answer cannot be written down."""


class Journal:
    """The answers of a run. Without a file they last as long as the run.

    :param asked: everything but the samples that the answers depend on.
    """

    def __init__(self, asked: Mapping[str, Any], file: BinaryIO | None = None):
        self.key = uuid.uuid4().hex
        self.results: list[wire.FilterResult] = []
        self.begins = False
        """Whether the run begins the direction. Its requests say so each time: a request is known again as it was."""
        self.rescored: dict[str, wire.FilterResult] = {}
        """By the id of the job that was scored again."""
        self.abandoned: list[str] = []
        """Jobs of an earlier run that is not gone on with, whose gradients the service may still keep."""
        self.is_of_use = True
        """Whether anything may have been sent under its key; else it is not left behind."""
        self._digests: list[list[str]] = []
        self._places: dict[str, int] = {}
        self._file = file
        question: Json = json.loads(json.dumps(asked))  # as it is read again
        if file is None or not self._read(file, question):
            self._append({"congrad_journal": FORMAT, "key": self.key, "asked": question})
            self.is_of_use = False

    @property
    def rows(self) -> int:
        """The rows that have been answered."""
        return sum(map(len, self._digests))

    @property
    def answered(self) -> Counter[str]:
        """How many rows of each digest have been answered."""
        return Counter(digest for digests in self._digests for digest in digests)

    @property
    def direction(self) -> wire.DirectionRef:
        """What the rows were scored against, as it was in the end; there is none before the first answer."""
        return [*self.results, *self.rescored.values()][-1].direction

    def sends(self) -> None:
        """Notes that requests go out under its key."""
        self.is_of_use = True

    def begin(self) -> None:
        """Notes that the run begins the direction."""
        self._append({"begins": True})
        self.begins = True
        self._sync()

    def add(self, result: wire.FilterResult, digests: Sequence[str]) -> None:
        """The answer to some rows, and the digest of each."""
        self.sends()
        self._append({"digests": list(digests), "result": result.model_dump(mode="json")})
        self._take_answer(result, list(digests))
        self._sync()

    def add_rescored(self, job_id: str, result: wire.FilterResult) -> None:
        """The second answer to the rows of a job."""
        self._append({"of": job_id, "rescored": result.model_dump(mode="json")})
        self._take_rescored(job_id, result)
        self._sync()

    def decisions(self, samples: Sequence[tuple[str, str]], *, rescored: bool) -> list[wire.Decision]:
        """What is decided about samples, once all of them are answered.

        :param samples: name and digest of each.
        :param rescored: by the second answers.
        """
        found: dict[str, wire.Decision] = {}
        others: defaultdict[str, deque[wire.Decision]] = defaultdict(deque)  # of rows that are the same
        for result, digests in zip(self.results, self._digests, strict=True):
            decisions = (self.rescored[result.job_id] if rescored else result).decisions
            for digest, decision in zip(digests, decisions, strict=True):
                if found.setdefault(digest, decision) is not decision:
                    others[digest].append(decision)
        decided = (
            (name, found.pop(digest) if digest in found else others[digest].popleft()) for name, digest in samples
        )
        # A row may have another place than it had when it was sent.
        return [one if one.id == name else replace(one, id=name) for name, one in decided]

    def retained(self, samples: Sequence[tuple[str, str]]) -> list[Retained]:
        """The jobs that have answered, and the names of the rows that were in each.

        :param samples: as in `decisions`.
        """
        names: defaultdict[str, deque[str]] = defaultdict(deque)
        for name, digest in samples:
            names[digest].append(name)
        jobs = zip(self.results, self._digests, strict=True)
        # A row that is in the file no more has no name.
        return [
            Retained(result.job_id, [names[digest].popleft() if names[digest] else "" for digest in digests])
            for result, digests in jobs
        ]

    def _append(self, line: Json) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise _unwritten(error) from error

    def _sync(self) -> None:
        """Waits until the disk has what was appended. It is counted before: that takes longest, so that most interrupts
        come here, and an answer that is in the file is there for the next run."""
        if self._file is None:
            return
        try:
            # Once a request: beside the seconds that its gradients take, and what it costs to compute them again, it is
            # nothing.
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritten(error) from error

    def _read(self, file: BinaryIO, asked: Json) -> bool:
        """Takes over what an earlier run has left; whether it has left anything. Half a line is no answer.

        :raises ValueError, KeyError, TypeError: the file is something else.
        :raises OtherQuestionError: its answers are not to what is asked.
        :raises OtherReleaseError: they are in another form.
        """
        whole = 0
        is_same = is_of_this_release = False
        before: Json = {}
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if number == 0:
                is_of_this_release = entry["congrad_journal"] == FORMAT
                before = entry["asked"]
                is_same = is_of_this_release and before == asked
                self.key = entry["key"] if is_same else self.key
            elif is_same:
                self._take(entry)
            elif not is_of_this_release:
                raise OtherReleaseError
            elif "begins" not in entry:
                raise OtherQuestionError(_difference(before, asked))
            whole += len(line) if is_same else 0
        # Half a line goes, and so does another question that has no answers.
        file.seek(whole)
        file.truncate()
        return is_same

    def _take(self, line: Json) -> None:
        if "begins" in line:
            self.begins = True
        elif "rescored" in line:
            self._take_rescored(line["of"], wire.FilterResult.model_validate(line["rescored"]))
        else:
            self._take_answer(wire.FilterResult.model_validate(line["result"]), line["digests"])

    def _take_answer(self, result: wire.FilterResult, digests: list[str]) -> None:
        self._places[result.job_id] = len(self.results)
        self.results.append(result)
        self._digests.append(digests)

    def _take_rescored(self, job_id: str, result: wire.FilterResult) -> None:
        self.rescored[job_id] = result
        # What the rows were decided at first is asked for no more, and of a long file it is most of what is held.
        place = self._places[job_id]
        self.results[place] = self.results[place].model_copy(update={"decisions": []})


def _difference(before: Json, asked: Json) -> str:
    """Which options are not as they were, and what they were."""
    others = [name for name in {**before, **asked} if before.get(name) != asked.get(name)]
    return ", ".join(f"{OPTIONS.get(name, name)}: {_in_words(before.get(name))}" for name in others)


def _in_words(value: Any) -> str:
    if value is None:
        return "not given"
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")


def _unwritten(error: OSError) -> JournalError:
    return JournalError(f"the answers cannot be kept beside the output: {error.strerror}")


def journal_of(output: str) -> Path:
    """Where the journal of an output lies: beside the file that is written, whatever link leads there.

    :raises FileError: the link leads nowhere.
    """
    target = resolved(output)
    return target.with_name(target.name + ".congrad")


@contextmanager
def open_journal(path: Path | None, asked: Mapping[str, Any], restart: bool) -> Iterator[Journal]:
    """The journal at ``path``, for this process alone. It is removed when the block ends without an error, or before
    anything was sent.

    :param path: None for one that is not written down.
    :param restart: forget what is there.
    :raises FileError: another process has it, it answers something else, or is no journal, which is then left alone.
    :raises JournalError: nothing can be written to it.
    """
    if path is None:
        yield Journal(asked)
        return
    try:
        file = _locked(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        try:
            _check_beginning(file)
            left = _emptied(file, asked) if restart else []
            journal = Journal(asked, file)
            journal.abandoned = left
        except OtherQuestionError as error:
            raise FileError(
                f"{path}: an unfinished run with other options has left its answers here ({error}); finish it with "
                "those, or begin anew with --restart"
            ) from None
        except OtherReleaseError:
            raise FileError(
                f"{path}: an unfinished run of another release of congrad has left its answers here; finish it with "
                "that one, or begin anew with --restart"
            ) from None
        except (ValidationError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FileError(f"{path}: is no journal of congrad (a line of it is no answer); move it away") from error
        except ValueError as error:
            raise FileError(f"{path}: is no journal of congrad ({error}); move it away") from error
        is_over = False
        try:
            yield journal
            is_over = True
        finally:
            if is_over or not journal.is_of_use:
                # Before the lock is let go: whoever opened it meanwhile then sees that it has no name any more.
                path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # what a full disk has not taken, it does not take now
            file.close()


def _check_beginning(file: BinaryIO) -> None:
    """:raises ValueError: it is something else's file; one without content is anyone's."""
    if not BEGINNING.startswith(file.read(len(BEGINNING))):
        raise ValueError("it begins otherwise")
    file.seek(0)


def _emptied(file: BinaryIO, asked: Mapping[str, Any]) -> list[str]:
    """Empties a journal; the jobs of the same service in it that have been answered and not been scored again."""
    answered: dict[str, None] = {}
    try:
        for line in file:
            entry = json.loads(line)
            if entry.get("asked", asked).get("url") != asked.get("url"):
                break
            if "result" in entry:
                answered[entry["result"]["job_id"]] = None
            answered.pop(entry.get("of"), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # half a line, or what another release has written: gradients expire by themselves
    file.seek(0)
    file.truncate()
    return list(answered)


def _locked(path: Path) -> BinaryIO:
    """:raises FileError: another process holds it."""
    while True:
        # Mode w would empty the file of whoever holds it. The lock is the kernel's, and goes with the process, however
        # that ends.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise FileError(f"{path}: another congrad filter is writing the same output") from None
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # the other process has finished meanwhile, and removed it
