"""Rows of TRL's, filtered before a trainer sees them: whole datasets, streams, and batches that are made on the way."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import iscoroutinefunction
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from congrad.client import Client
from congrad.contract.tags.languages import UNSURE
from congrad.errors import InvalidSampleError
from congrad.formats.fields import Fields
from congrad.formats.kinds import trl
from congrad.formats.language_fields import LANGUAGE, language_field
from congrad.formats.lost_prompts import PromptWatch
from congrad.formats.paths import column_of, value_at
from congrad.formats.recognition import recognised
from congrad.formats.registry import AUTO, ROWS
from congrad.formats.verdict import TieError, Verdict
from congrad.integrations.shared import filter_shared, log
from congrad.integrations.trl.ties import among, told_in_rows
from congrad.protocol.options import FilterOptions
from congrad.protocol.requests import check_rows
from congrad.protocol.results import Filtered

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset

Row = Mapping[str, Any]
ToSample = Callable[[Row], Mapping[str, Any]]
Language = str | Callable[[Row], str] | None
AnyRow = TypeVar("AnyRow", bound=Row)
AnyDataset = TypeVar("AnyDataset", "Dataset", "DatasetDict", "IterableDataset")

KEEP = "keep"
CONFLICT_SCORE = "conflict_score"

STREAMED = 256
"""Rows of a stream that are asked about at a time."""


def to_sample(row: Row) -> dict[str, Any]:
    """The fields of a sample in a row of TRL's, standard or conversational: a preference pair with an explicit or an
    implicit prompt, or a prompt and its completion, which may have a label.

    A null is a missing value: Arrow has no other form for one. A completion beside a whole pair is left out. What TRL
    hands to a chat template with its nulls, tools and the arguments of their calls, keeps them.
    """
    return trl.read(row, {})


def filter_dataset(
    dataset: AnyDataset,
    client: Client,
    language: Language = None,
    *,
    format: str = AUTO,  # noqa: A002 # what the command calls it
    fields: Mapping[str, str] | None = None,
    verdict: str | None = None,
    to_sample: ToSample | None = None,
    drop: bool = False,
    **options: Unpack[FilterOptions],
) -> AnyDataset:
    """Scores a dataset of preference pairs, or of prompts with completions, and says which to keep.

    Its rows stay in order, its columns as they are. All rows are folded in before the first one is scored, unless
    ``two_pass=False`` or ``update=False``. Processes that make the same call, such as the ranks of a training job that
    run one script, are given the same answers, which are computed once; so is one that makes it again within the hour.

    Of a `DatasetDict` each split is filtered, one after the other; an `IterableDataset` stays one: its rows are asked
    about as they are read, so in one pass.

    :param language: the column with the languages, or a function that tells a row's; default: a column of a usual name,
        such as ``language``, ``lang`` or ``locale``.
    :param format: what the rows are, one of `congrad.formats.FORMATS` by its name; ``auto`` tells by their fields.
    :param fields: the column of a field, or the path to it, where the format does not say it:
        ``{"prompt": "input.messages"}``.
    :param verdict: of two answers: what stands for the first and for the second, such as ``0/1``, ``1/2`` or ``a/b``;
        default: the values of all rows tell.
    :param to_sample: the fields of a `congrad.Sample` or `congrad.PromptCompletion` in a row, but for its language,
        instead of a format.
    :param drop: return the kept rows only.
    :param options: what `Client.filter` takes beside the samples, any of `FilterOptions`: ``direction``, ``selection``,
        ``two_pass``, ...
    :returns: the dataset with two more columns: ``keep``, a bool, and ``conflict_score``, a float, null where the row
        has none. A row that prefers neither of its answers, a tie, is not sent, and not kept.
    :raises TypeError: it is no dataset of these kinds.
    :raises ValueError: a column is missing, or there is one of these names already; the rows are of no format that is
        known, what their verdicts mean cannot be told, or their prompts would be lost.
    :raises CongradError: a row cannot be sent, or the service does not answer; see `congrad.errors`.
    """
    from datasets import DatasetDict

    check_client(client)
    splits: Mapping[str, Dataset | IterableDataset] = dataset if isinstance(dataset, DatasetDict) else {"": dataset}
    for split in splits.values():
        _check(split, language)
    reader = partial(
        _Reader, language=language, to_sample=to_sample, form=format, columns=fields or {}, verdict=verdict
    )
    done = {}
    for name, split in splits.items():
        alike = [other for other in splits.values() if set(_names(other)) == set(_names(split))]
        done[name] = _scored(split, client, reader(_beginning(alike), every=_columns_of(alike)), drop, {**options})
    return cast("AnyDataset", DatasetDict(done) if isinstance(dataset, DatasetDict) else done[""])


def filter_rows(
    rows: Sequence[AnyRow],
    client: Client,
    language: Language = None,
    *,
    format: str = AUTO,  # noqa: A002 # what the command calls it
    fields: Mapping[str, str] | None = None,
    verdict: str | None = None,
    **options: Unpack[FilterOptions],
) -> list[AnyRow]:
    """The rows that are kept, of some that a training loop has made: each is folded in and scored, in one pass. Ties,
    which prefer neither of their answers, are not among them.

    Calls know nothing of each other: what is not said is told by the rows of each one.

    :param language: the field with the languages, or a function that tells a row's; default: as in `filter_dataset`.
    :param format: what the rows are, as in `filter_dataset`; so are ``fields`` and ``verdict``.
    :param options: what `Client.filter` takes beside the samples: with ``selection={"kind": "fraction", "keep": 0.6,
        "within": "stream"}`` small batches keep the same share, and ``checkpoint`` is that of the policy.
    :raises ValueError: the rows are of no format that is known, what their verdicts mean cannot be told, or their
        prompts would be lost.
    :raises CongradError: a row cannot be sent, or the service does not answer.
    """
    check_client(client)
    check_rows(rows, "rows")
    rows = list(rows)  # of what can be read once only, nothing would be left to give back
    if not rows:
        return []
    reader = _Reader(rows, language, None, format, fields or {}, verdict, lambda _: rows)
    reader.check(rows)
    ties: list[int] = []
    samples = list(reader.samples(rows, ties))
    with told_in_rows(ties):
        keeps = client.filter(samples, **options).keep
    return [row for row, keep in zip(rows, among(keeps, ties, False), strict=True) if keep]


class _Reader:
    """Reads samples of rows.

    :param rows: those that it begins with.
    :param every: reads some columns of all of them, where they are not a stream.
    :raises ValueError: the rows are of no format that is known, or what their verdicts mean cannot be told.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        language: Language,
        to_sample: ToSample | None,
        form: str,
        columns: Mapping[str, str],
        verdict: str | None,
        every: Callable[[Collection[str]], Iterable[Row]] | None = None,
    ):
        self._language = language
        self._read = to_sample
        named = {**columns, **({LANGUAGE: language} if isinstance(language, str) else {})}
        said = None if verdict is None else Verdict.of(verdict)
        # A function tells the language of each row; any tag keeps the format from looking for a column.
        given = Fields(named, UNSURE if callable(language) else None, verdict=said)
        first = [dict(row) for row in islice(rows, ROWS)]
        self._fields = given
        if first and to_sample is None:
            found = recognised(first, given, form, every)
            self._fields = found.fields
            # Without it the rows are those of supervised fine-tuning, in which unwanted completions are learnt too.
            if found.unread_label:
                log.warning("%s: the completions count as ones without a label", found.unread_label)
        self._column = self._fields.columns.get(LANGUAGE) or language_field(first) or LANGUAGE
        if first and not callable(language) and all(value_at(row, self._column) is None for row in first):
            lacking = f"column {language!r}" if isinstance(language, str) else "column of languages"
            raise ValueError(
                f"the dataset has no {lacking}; language= names the column of language tags, or is a function of a "
                f"row. Its columns: {', '.join(first[0])}"
            )

    def samples(self, rows: Any, ties: list[int], start: int = 0) -> Iterator[dict[str, Any]]:
        """The samples of all rows, whose first one is at the position ``start``.

        :param ties: is given the places among the rows of those that prefer neither of their answers.
        :raises InvalidSampleError: a row is none.
        """
        ties.clear()
        for position, row in enumerate(rows, start):
            try:
                yield self._sample(row)
            except TieError:
                ties.append(position - start)
            except KeyError as error:
                raise InvalidSampleError(position, f"its row has no {error}; there are {', '.join(row)}") from error
            except ValueError as error:
                raise InvalidSampleError(position, str(error)) from error

    def check(self, rows: Any) -> None:
        """Reads the first rows before anything is sent.

        :raises InvalidSampleError: one of them is no sample.
        :raises ValueError: their prompts would be lost.
        """
        watch = PromptWatch(self._fields.used)
        has_rows = has_prompt = False
        for position, row in enumerate(rows):
            has_rows, has_prompt = True, has_prompt or "prompt" in self._fields.found_in(row)
            for sample in self.samples([row], [], position):
                watch.add(row, sample)
        if self._read is not None:
            return
        path = self._fields.columns.get("prompt")
        if path is not None and has_rows and not has_prompt:
            raise ValueError(f"no row has anything at {path!r}, which fields= names for the prompt")
        if watch.fault is not None:
            raise ValueError(watch.fault)

    def _sample(self, row: Row) -> dict[str, Any]:
        sample = dict(self._read(row)) if self._read else self._fields.read(row)
        if callable(self._language):
            return sample | {LANGUAGE: self._language(row)}
        return sample | ({LANGUAGE: value_at(row, self._column)} if self._read else {})


def _names(dataset: "Dataset | IterableDataset") -> list[str]:
    return dataset.column_names or list(next(iter(dataset), {}))


def _beginning(splits: Sequence["Dataset | IterableDataset"]) -> Iterator[Row]:
    """The first rows of splits that have the same columns: what they are is one question about all."""
    each = -(-ROWS // len(splits))
    return chain.from_iterable(islice(split.with_format(None), each) for split in splits)


def _columns_of(splits: Sequence["Dataset | IterableDataset"]) -> Callable[[Collection[str]], Iterable[Row]] | None:
    """Reads some columns of all rows of splits; None where one of them is a stream."""
    from datasets import Dataset

    whole = [split.with_format(None) for split in splits if isinstance(split, Dataset)]

    def every(columns: Collection[str]) -> Iterator[Row]:
        for rows in whole:
            yield from rows.select_columns([name for name in rows.column_names if name in columns])

    return every if len(whole) == len(splits) else None


def _scored(
    dataset: "Dataset | IterableDataset", client: Client, reader: _Reader, drop: bool, options: FilterOptions
) -> "Dataset | IterableDataset":
    from datasets import Dataset

    if isinstance(dataset, Dataset):
        return _filtered(dataset, client, reader, drop, options)
    return _filtered_stream(dataset, client, reader, drop, options)


def _filtered(dataset: "Dataset", client: Client, reader: _Reader, drop: bool, options: FilterOptions) -> "Dataset":
    from datasets import Value

    # Not the arrays that a trainer wants its rows to be; and `datasets` cannot add a column to all kinds of them.
    rows = dataset.with_format(None)
    options.setdefault("two_pass", options.get("update", True))
    reader.check(rows.take(min(ROWS, len(rows))))

    ties: list[int] = []
    samples = list(reader.samples(rows, ties))

    def call(key: str) -> Filtered:
        keyed: FilterOptions = {**options, "idempotency_key": key}
        return client.filter(samples, **keyed)

    key = options.get("idempotency_key")
    with told_in_rows(ties):
        filtered = call(key) if key is not None else filter_shared(client, samples, options, call)
    keeps = among(filtered.keep, ties, False)
    scores = among([decision.conflict_score for decision in filtered.decisions], ties, None)
    scored = rows.add_column(KEEP, keeps, feature=Value("bool"))
    scored = scored.add_column(CONFLICT_SCORE, scores, feature=Value("float64"))
    if drop:
        scored = scored.select([i for i, keep in enumerate(keeps) if keep])
    return _formatted(scored, dataset)


def _filtered_stream(
    dataset: "IterableDataset", client: Client, reader: _Reader, drop: bool, options: FilterOptions
) -> "IterableDataset":
    """Asks about some rows at a time, as they are read. A stream has no end that a second pass could wait for."""
    from datasets import Features, Value

    if options.get("two_pass"):
        raise ValueError("two_pass waits for all rows, and an IterableDataset is a stream")
    given: FilterOptions = {**options, "two_pass": False}

    def ask(columns: dict[str, list[Any]], positions: list[int]) -> dict[str, list[Any]]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        ties: list[int] = []
        samples = list(reader.samples(rows, ties, positions[0]))
        with told_in_rows(ties):
            filtered = client.filter(samples, **given)
        scores = [decision.conflict_score for decision in filtered.decisions]
        return {KEEP: among(filtered.keep, ties, False), CONFLICT_SCORE: among(scores, ties, None)}

    reader.check([dict(row) for row in dataset.take(ROWS)])
    # A stream that knows its columns goes on knowing them: `map` forgets them unless they are said.
    features = None
    if dataset.features is not None:
        features = Features({**dataset.features, KEEP: Value("bool"), CONFLICT_SCORE: Value("float64")})
    scored = dataset.map(ask, batched=True, with_indices=True, batch_size=STREAMED, features=features)
    return scored.filter(lambda keep: bool(keep), input_columns=[KEEP]) if drop else scored


def _formatted(scored: "Dataset", dataset: "Dataset") -> "Dataset":
    """The new dataset with the format of the old one, which hides none of the new columns."""
    given = dataset.format
    shows_all = set(given["columns"]) == set(dataset.column_names)
    columns = None if shows_all else [*given["columns"], KEEP, CONFLICT_SCORE]
    return scored.with_format(given["type"], columns, given["output_all_columns"], **given["format_kwargs"])


def check_client(client: Any) -> None:
    """:raises TypeError: it does not answer a call, or is asynchronous."""
    if not hasattr(client, "filter") or iscoroutinefunction(client.filter):
        raise TypeError(f"client is {type(client).__name__}; it should be a congrad.Client")


def _check(dataset: Any, language: Language) -> None:
    from datasets import Dataset, IterableDataset

    if not isinstance(dataset, Dataset | IterableDataset):
        raise TypeError(f"dataset is {type(dataset).__name__}, not a Dataset, DatasetDict or IterableDataset")
    columns = _names(dataset)
    if clashes := [name for name in (KEEP, CONFLICT_SCORE) if name in columns]:
        raise ValueError(f"the dataset has a column {clashes[0]!r} already; rename or remove it")
    if isinstance(language, str) and column_of(language) not in columns and language not in columns:
        raise ValueError(
            f"the dataset has no column {language!r}; language= names the column of language tags, or is a function "
            f"of a row. Its columns: {', '.join(columns)}"
        )
