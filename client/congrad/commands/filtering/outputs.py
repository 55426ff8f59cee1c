"""Where `congrad filter` writes: what was kept, what was dropped, every decision, and a page about them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from congrad.commands.filtering.journal import journal_of
from congrad.commands.filtering.retained import Retained, write_retained
from congrad.contract import wire
from congrad.files.bad_rows import BadRow
from congrad.files.decisions import misnamed
from congrad.files.formats import STANDARD_STREAM, Format, format_of
from congrad.files.kinds.parquet_file import DECISION, require_pyarrow
from congrad.files.kinds.rows import FileError
from congrad.files.kinds.values import encode
from congrad.files.opening.compression import bare
from congrad.files.samples import Fields, Survey
from congrad.files.source import Source, same_file
from congrad.files.sources import stands_for
from congrad.files.streams import STANDARD_OUTPUT, descriptor_of, is_special
from congrad.files.target import Writer, check_writable, replacing, rows_to
from congrad.files.trial import Form, Trial
from congrad.report.about import About
from congrad.report.content import Report
from congrad.report.page import misnamed_page


@dataclass(frozen=True)
class Outputs:
    """Where results go."""

    kept: str
    dropped: str | None
    scores: str | None
    report: str | None
    jobs: str | None
    kept_format: Format | None

    @property
    def paths(self) -> list[str]:
        """All that are given."""
        return [path for path in (self.kept, self.dropped, self.scores, self.report, self.jobs) if path is not None]

    @property
    def journal(self) -> Path | None:
        """Where answers are kept until KEPT is written; None where that is a stream.

        :raises FileError: KEPT leads nowhere.
        """
        return None if is_special(self.kept) else journal_of(self.kept)

    @property
    def has_standard_output(self) -> bool:
        """Whether one of them is standard output."""
        return STANDARD_OUTPUT in map(descriptor_of, self.paths)

    def notices(self, source: Source, given: Sequence[str] = ()) -> Iterator[str]:
        """What whoever filters should know of them before the work.

        :param given: the paths, folders and patterns that the source was found by.
        """
        for path in (self.kept, self.dropped):
            if path is not None and PurePath(bare(path)).suffix and format_of(path) is None and not self.kept_format:
                yield f"{path}: its suffix is that of no kind of file, and it will be written as {source.format}"
        if self.scores is not None and (told := misnamed(self.scores)) is not None:
            yield told
        if self.report is not None and (told := misnamed_page(self.report)) is not None:
            yield told
        for path in self.paths:
            if not is_special(path) and Path(path).exists():
                yield f"{path}: is there already, and will be replaced"
        # A later run over the folder would take what was kept for pairs of its own, and write it twice.
        if among := [path for path in self.paths if any(stands_for(one, path) for one in given)]:
            yield (
                f"{' and '.join(among)}: will lie among the files that are read, and be read with them the next time; "
                "name another folder"
            )
        if self.dropped is None and self.scores is None and not self.has_standard_output:
            yield "dropped rows will not be written; --dropped FILE has them, each with its decision"

    def check(self, sources: Sequence[str], given: Sequence[str] = ()) -> None:
        """Finds out before the work whether its result can be written.

        :param given: the paths, folders and patterns that stand for the sources.
        :raises FileError: it cannot, or would overwrite the input, the journal or another result.
        """
        for number, path in enumerate(self.paths):
            check_writable(path)
            if path != STANDARD_STREAM and any(same_file(path, source) for source in sources):
                raise FileError(f"{path}: is the input; it would be overwritten{_way(path, given)}")
            if any(_are_one(path, other) for other in self.paths[:number]) and path != "/dev/null":
                raise FileError(f"{path}: is named for two outputs")
        for path in (*sources, *self.paths):
            if self.journal is not None and same_file(path, str(self.journal)):
                raise FileError(f"{path}: is where an unfinished run keeps its answers; name another file")
        if Format.PARQUET in (self.kept_format, format_of(self.kept), format_of(self.dropped or "")):
            require_pyarrow()

    def trial(self, source: Source) -> Trial:
        """What finds out while the rows are checked whether they can be written.

        :raises FileError: they come from Parquet files that are not alike, and go into one.
        """
        forms = [self._form(path, source) for path in (self.kept, self.dropped) if path is not None]
        if source.format is Format.PARQUET and any(form.format is Format.PARQUET for form in forms):
            source.schema()
        return Trial(source.name, source.format, forms)

    def write(
        self,
        source: Source,
        fields: Fields,
        found: Survey,
        decisions: Sequence[wire.Decision],
        about: About | None,
        retained: Sequence[Retained] = (),
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Writes all outputs; KEPT takes its place last, so that where it is, the others are too.

        :param about: what the report says of the run, where there is one.
        :param retained: the jobs whose gradients are kept.
        :param count: is told how many rows have been written, or left out, after each.
        :raises FileError: one of them cannot be written.
        """
        wanted = None if self.trial(source).is_needed else fields.wanted
        report = None if about is None else Report(about, decisions)
        with ExitStack() as stack:
            # What is entered first takes its place last.
            kept = stack.enter_context(self._rows_to(self.kept, source, found))
            dropped = None
            if self.dropped is not None:
                dropped = stack.enter_context(self._rows_to(self.dropped, source, found))
            for position, (row, decision) in enumerate(zip(source.all_rows(wanted), decisions, strict=True)):
                bad = found.bad.found.get(position)
                if bad is None and report is not None:
                    report.add(position, fields.sample(row))
                if decision.keep:
                    kept.write(row, {})
                elif dropped is not None:
                    dropped.write(row, {DECISION: _verdict(decision, bad)})
                count(position + 1)
            if self.scores is not None:
                stream = stack.enter_context(replacing(self.scores))
                stream.writelines(encode(asdict(decision)) + b"\n" for decision in decisions)
            if self.jobs is not None:
                write_retained(stack.enter_context(replacing(self.jobs)), retained)
            if self.report is not None and report is not None:
                report.write(stack.enter_context(replacing(self.report)))

    def _rows_to(self, path: str, source: Source, found: Survey) -> AbstractContextManager[Writer]:
        form = self._form(path, source)
        if form.with_decision:
            return rows_to(path, form, source, list(found.columns), found.schema_of_dropped)
        return rows_to(path, form, source, list(found.columns_of_samples), found.schema)

    def _form(self, path: str, source: Source) -> Form:
        """What is written to ``path``: what its suffix says, else the same as what is read. Where a file of objects on
        lines is called .json, or a list .jsonl, another of that name is written like it."""
        given = self.kept_format if path == self.kept or format_of(path) is None else None
        by_suffix = format_of(path)
        own = source.format if by_suffix in (None, source.by_suffix) else by_suffix
        return Form(given or own or source.format, with_decision=path == self.dropped)


def _way(path: str, given: Sequence[str]) -> str:
    """What to do about an output that is read: an earlier run may have left it in the folder."""
    found = next((one for one in given if stands_for(one, path)), None)
    return "" if found is None else f". {found} stands for it too: name another folder, or the files that are meant"


def _are_one(first: str, second: str) -> bool:
    stream = descriptor_of(first)
    return same_file(first, second) or (stream is not None and stream == descriptor_of(second))


def _verdict(decision: wire.Decision, bad: BadRow | None) -> dict[str, Any]:
    """What the row itself does not say; ``detail`` is what is wrong with it."""
    verdict = {name: value for name, value in asdict(decision).items() if name not in ("id", "language", "keep")}
    return verdict | {"detail": None if bad is None else bad.reason}
