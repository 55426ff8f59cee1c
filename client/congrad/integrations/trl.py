"""TRL: a dataset of preference pairs, filtered before a `DPOTrainer` sees it, or of prompts with their completions,
before an `SFTTrainer` does, or with labels a `KTOTrainer`.

with congrad.Client() as client:
    kept = filter_dataset(dataset, client, drop=True)
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from congrad.client import Client
from congrad.contract.samples import COLUMNS, without_others
from congrad.errors import InvalidSampleError
from congrad.integrations.shared import filter_shared
from congrad.protocol.options import FilterOptions
from congrad.protocol.results import Filtered

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, Any]
ToSample = Callable[[Row], Mapping[str, Any]]

KEEP = "keep"
CONFLICT_SCORE = "conflict_score"

FIELDS = tuple(name for name in COLUMNS if name not in ("id", "language"))
"""TRL's columns, images and whole conversations among them so that they are refused."""


def to_sample(row: Row) -> dict[str, Any]:
    """The fields of a sample in a row of TRL's, standard or conversational: a preference pair with an explicit or an
    implicit prompt, or a prompt and its completion, which may have a label.

    A null is a missing value: Arrow has no other form for one. A completion beside a whole pair is left out.
    """
    return without_others({name: row[name] for name in FIELDS if row.get(name) is not None})


def filter_dataset(
    dataset: "Dataset",
    client: Client,
    language: str | Callable[[Row], str] = "language",
    *,
    to_sample: ToSample = to_sample,
    drop: bool = False,
    **options: Unpack[FilterOptions],
) -> "Dataset":
    """Scores a dataset of preference pairs, or of prompts with completions, and says which to keep.

    Its rows stay in order, its columns as they are. All rows are folded in before the first one is scored, unless
    ``two_pass=False`` or ``update=False``. Processes that make the same call, such as the ranks of a training job that
    run one script, are given the same answers, which are computed once; so is one that makes it again within the hour.

    :param language: the column with the language tags, or a function that tells a row's.
    :param to_sample: the fields of a `congrad.Sample` or `congrad.PromptCompletion` in a row, but for its language. The
        default reads TRL's columns; `congrad.integrations.openrlhf` and `congrad.integrations.axolotl` have those of
        OpenRLHF and Axolotl.
    :param drop: return the kept rows only.
    :param options: what `Client.filter` takes beside the samples, any of `FilterOptions`: ``direction``, ``selection``,
        ``two_pass``, ...
    :returns: the dataset with two more columns: ``keep``, a bool, and ``conflict_score``, a float, null where the row
        has none.
    :raises TypeError: it is not a `datasets.Dataset`.
    :raises ValueError: a column is missing, or there is one of these names already.
    :raises CongradError: a row cannot be sent, or the service does not answer; see `congrad.errors`.
    """
    from datasets import Value

    _check(dataset, language)
    # Not the arrays that a trainer wants its rows to be; and `datasets` cannot add a column to all kinds of them.
    rows = dataset.with_format(None)
    options.setdefault("two_pass", options.get("update", True))

    def call(key: str) -> Filtered:
        keyed: FilterOptions = {**options, "idempotency_key": key}
        return client.filter(_samples(rows, language, to_sample), **keyed)

    key = options.get("idempotency_key")
    filtered = call(key) if key is not None else filter_shared(client, dataset._fingerprint, options, call)
    scores = [decision.conflict_score for decision in filtered.decisions]
    scored = rows.add_column(KEEP, filtered.keep, feature=Value("bool"))
    scored = scored.add_column(CONFLICT_SCORE, scores, feature=Value("float64"))
    if drop:
        scored = scored.select([i for i, keep in enumerate(filtered.keep) if keep])
    return _formatted(scored, dataset)


def _formatted(scored: "Dataset", dataset: "Dataset") -> "Dataset":
    """The new dataset with the format of the old one, which hides none of the new columns."""
    given = dataset.format
    shows_all = set(given["columns"]) == set(dataset.column_names)
    columns = None if shows_all else [*given["columns"], KEEP, CONFLICT_SCORE]
    return scored.with_format(given["type"], columns, given["output_all_columns"], **given["format_kwargs"])


def _check(dataset: Any, language: str | Callable[[Row], str]) -> None:
    from datasets import Dataset, IterableDataset

    if isinstance(dataset, IterableDataset):
        raise TypeError("an IterableDataset is a stream; filter it with client.filter_stream, as it is read")
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset is {type(dataset).__name__}, not a datasets.Dataset; filter each split by itself")
    columns = dataset.column_names
    if clashes := [name for name in (KEEP, CONFLICT_SCORE) if name in columns]:
        raise ValueError(f"the dataset has a column {clashes[0]!r} already; rename or remove it")
    if isinstance(language, str) and language not in columns:
        raise ValueError(
            f"the dataset has no column {language!r}; language= names the column of language tags, or is a function "
            f"of a row. Its columns: {', '.join(columns)}"
        )


def _samples(rows: "Dataset", language: str | Callable[[Row], str], to_sample: ToSample) -> Iterator[dict[str, Any]]:
    for position, row in enumerate(rows):
        try:
            sample = {**to_sample(row), "language": row[language] if isinstance(language, str) else language(row)}
        except KeyError as error:
            raise InvalidSampleError(position, f"its row has no {error}; there are {', '.join(row)}") from error
        except ValueError as error:
            raise InvalidSampleError(position, str(error)) from error
        yield sample
