"""What is written of a file some of whose rows are no samples, and are dropped."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from congrad.commands.filtering.outputs import Outputs
from congrad.contract import wire
from congrad.files.formats import Format
from congrad.files.kinds.rows import UNREADABLE, FileError
from congrad.files.samples import Fields, survey
from congrad.files.source import Source
from congrad.files.sources import files_of, opened
from pyarrow import parquet

GOOD: dict[str, Any] = {"language": "de", "prompt": "p", "chosen": "a", "rejected": "b", "n": 1}
BAD: dict[str, Any] = {"language": "de", "prompt": ["?"], "n": "none", "why": {"not": "known"}}


def filtered(source: Path, kept: str, dropped: str | None = None) -> tuple[Path, Path]:
    """All samples are kept, and all other rows dropped."""
    folder = source.parent
    outputs = Outputs(str(folder / kept), dropped and str(folder / dropped), None, None, None, None)
    fields = Fields()
    with Source(str(source), fields=fields.by_column) as rows:
        found = survey(rows, fields, outputs.trial(rows), drop_bad=True)
        decisions = [wire.Decision(name, "de", True, -0.5, [], False, None) for name, _ in found.samples]
        outputs.write(rows, fields, found, found.bad.among(decisions), None)
    return folder / kept, folder / (dropped or "")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (GOOD, BAD, GOOD)) + "{\n")
    return path


def test_the_kept_rows_have_their_own_columns_and_types(mixed: Path) -> None:
    kept, _ = filtered(mixed, "kept.parquet")
    assert parquet.read_table(kept).to_pylist() == [GOOD, GOOD]
    assert str(parquet.read_schema(kept).field("n").type) == "int64"
    kept, _ = filtered(mixed, "kept.csv")
    with kept.open(newline="") as file:
        assert next(csv.reader(file)) == list(GOOD)


def test_the_dropped_rows_have_all_columns(mixed: Path) -> None:
    kept, dropped = filtered(mixed, "kept.parquet", "dropped.jsonl")
    assert parquet.read_schema(kept).names == list(GOOD)
    first, second = map(json.loads, dropped.read_text().splitlines())
    assert first | BAD == first
    assert UNREADABLE in second
    mixed.write_text("".join(json.dumps(row) + "\n" for row in (GOOD, BAD | {"prompt": "?", "n": 2})))
    kept, dropped = filtered(mixed, "kept.parquet", "dropped.parquet")
    assert parquet.read_schema(kept).names == list(GOOD)
    assert parquet.read_schema(dropped).names == [*GOOD, "why", "congrad"]


def test_dropped_rows_that_are_no_columns_of_parquet_are_found_beforehand(mixed: Path) -> None:
    with pytest.raises(FileError, match=r"'prompt' are no column of Parquet.*JSON Lines takes them"):
        filtered(mixed, "kept.jsonl", "dropped.parquet")
    assert not (mixed.parent / "kept.jsonl").exists()


def test_a_csv_file_is_copied_without_what_could_not_be_read_of_it(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("language,chosen,rejected\nde,a,b\nde,a\n")
    kept, dropped = filtered(source, "kept.csv", "dropped.csv")
    assert kept.read_text() == "language,chosen,rejected\nde,a,b\n"
    assert dropped.read_text().splitlines()[0] == f"language,chosen,rejected,{UNREADABLE},congrad"


def test_shards_that_are_not_alike_are_no_one_parquet_file_and_found_beforehand(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    for name, row in zip(names, (GOOD, dict(reversed(GOOD.items()))), strict=True):
        parquet.write_table(pyarrow.Table.from_pylist([row]), name)
    with opened(names, None, {}) as rows:
        for kept, dropped in (("kept.parquet", None), ("kept.jsonl", "dropped.parquet")):
            with pytest.raises(FileError, match=r"b\.parquet: has other columns, .*a\.parquet, .*: write JSON Lines"):
                Outputs(kept, dropped, None, None, None, None).trial(rows)
        Outputs("kept.jsonl", "dropped.csv", None, None, None, None).trial(rows)


@pytest.mark.parametrize(
    ("kept", "is_told"), [("kept.arrow", True), ("kept.csv.zip", True), ("kept.txt.gz", True), ("kept", False),
                          ("kept.gz", False), ("kept.v2.JSONL", False)]
)  # fmt: skip
def test_a_suffix_that_says_nothing_is_told(kept: str, is_told: bool, mixed: Path) -> None:
    """Who writes it means something else than what is written."""
    with Source(str(mixed)) as rows:
        for form, word in ((None, is_told), (Format.JSONL, False)):
            told = list(Outputs(str(mixed.parent / kept), None, "scores", None, None, form).notices(rows))
            assert any("will be written as jsonl" in notice for notice in told) is word


@pytest.mark.parametrize(
    ("scores", "is_told"), [("s.csv", True), ("s.json", False), ("s.jsonl.gz", False), ("s.txt", False), ("-", False)]
)
def test_decisions_in_a_file_that_is_called_another_kind_are_told_of(scores: str, is_told: bool, mixed: Path) -> None:
    """`congrad report` would read it as what it is called."""
    with Source(str(mixed)) as rows:
        told = list(Outputs("kept.jsonl", None, scores, None, None, None).notices(rows))
    assert any("decisions are JSON Lines" in notice for notice in told) is is_told


def test_a_decision_is_the_same_in_every_kind_of_file(mixed: Path) -> None:
    mixed.write_text("".join(json.dumps(row) + "\n" for row in (GOOD, {"language": "de", "prompt": "?"})))
    of_lines = json.loads(filtered(mixed, "kept.jsonl", "dropped.jsonl")[1].read_text().splitlines()[0])["congrad"]
    table = parquet.read_table(filtered(mixed, "kept.parquet", "dropped.parquet")[1], columns=["congrad"])
    assert table["congrad"].to_pylist()[0] == of_lines
    with filtered(mixed, "kept.csv", "dropped.csv")[1].open(newline="") as file:
        assert json.loads(next(csv.DictReader(file))["congrad"]) == of_lines


@pytest.mark.parametrize(
    ("report", "is_told"), [("r.pdf", True), ("r.json", True), ("r.html", False), ("r.HTM.gz", False), ("r", False)]
)
def test_a_page_in_a_file_that_is_called_another_kind_is_told_of(report: str, is_told: bool, mixed: Path) -> None:
    """What opens a .pdf would call it broken."""
    with Source(str(mixed)) as rows:
        told = list(Outputs("kept.jsonl", None, None, report, None, None).notices(rows))
    assert any("a report is HTML" in notice for notice in told) is is_told


@pytest.mark.parametrize(
    ("given", "kept", "is_told"),
    [
        (".", "kept.jsonl", True),
        (".", "out/kept.csv.gz", True),
        ("*.jsonl", "kept.jsonl", True),
        (".", ".kept.jsonl", False),
        (".", "kept", False),
        ("*.jsonl", "out/kept.jsonl", False),
        ("*.jsonl", "kept.csv", False),
        ("in.jsonl", "kept.jsonl", False),
        ("out", "kept.jsonl", False),
    ],
)
def test_an_output_that_a_later_run_would_read_is_told_of(given: str, kept: str, is_told: bool, mixed: Path) -> None:
    folder = mixed.parent
    (folder / "out").mkdir()
    with Source(str(mixed)) as rows:
        outputs = Outputs(str(folder / kept), None, None, None, None, None)
        told = list(outputs.notices(rows, [str(folder / given)]))
    assert any("read with them the next time" in notice for notice in told) is is_told


@pytest.mark.parametrize("given", ["", "*.jsonl"])
def test_an_output_that_a_folder_stands_for_is_not_overwritten_and_it_is_said_why(given: str, mixed: Path) -> None:
    pattern, kept = str(mixed.parent / given), str(mixed)
    with pytest.raises(FileError, match=r"stands for it too: name another folder, or the files that are meant"):
        Outputs(kept, None, None, None, None, None).check(files_of([pattern]), [pattern])
    with pytest.raises(FileError, match=r"it would be overwritten$"):
        Outputs(kept, None, None, None, None, None).check([kept], [kept])
