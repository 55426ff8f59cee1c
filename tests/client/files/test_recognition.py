"""What is found out of all rows of a file, once, before one of them is read as a sample."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from congrad.files.kinds.rows import FileError
from congrad.files.recognition import recognised_in
from congrad.files.samples import Fields, survey
from congrad.files.source import Source
from congrad.files.sources import opened
from congrad.formats import Verdict
from congrad.formats.registry import ROWS


def judged(path: Path, *labels: Any) -> Path:
    """A file of two answers with a label."""
    row = {"language": "de", "prompt": "p", "response_a": "first", "response_b": "second"}
    path.write_text("".join(json.dumps(row | {"label": label}) + "\n" for label in labels))
    return path


def chosen(source: Source, fields: Fields | None = None) -> set[str]:
    fields = recognised_in(source, fields or Fields()).fields
    return {fields.sample(row)["chosen"] for row in source.rows() if row.content["label"] == 1}


def test_a_verdict_far_down_says_what_those_of_the_first_rows_mean(tmp_path: Path) -> None:
    """Of the first rows alone, 1 would be the second answer: all pairs but the last were swapped."""
    for name, last in (("from-one", 2), ("from-zero", 0), ("signed", -1)):
        with Source(str(judged(tmp_path / f"{name}.jsonl", *[1] * 2 * ROWS, last))) as source:
            assert chosen(source) == ({"first"} if last == 2 else {"second"})


def test_of_several_files_one_question_is_asked(tmp_path: Path) -> None:
    names = [str(judged(tmp_path / "a.jsonl", 1, 1)), str(judged(tmp_path / "b.jsonl", 2))]
    with opened(names, None, Fields().by_column) as source:
        assert chosen(source) == {"first"}


def test_a_file_of_nothing_but_1_is_refused_until_it_is_said_what_that_is(tmp_path: Path) -> None:
    with Source(str(judged(tmp_path / "in.jsonl", *[1] * 3))) as source:
        with pytest.raises(FileError, match=r"in.jsonl: label holds nothing but 1, .* say .* --verdict 0/1, --verdict"):
            recognised_in(source, Fields())
        assert chosen(source, Fields(verdict=Verdict.of("0/1"))) == {"second"}
        assert chosen(source, Fields(verdict=Verdict.of("1/2"))) == {"first"}


def test_a_row_that_contradicts_what_was_said_is_a_bad_one(tmp_path: Path) -> None:
    with Source(str(judged(tmp_path / "in.jsonl", 1, 2, 1))) as source:
        fields = recognised_in(source, Fields(verdict=Verdict.of("0/1"))).fields
        (bad,) = survey(source, fields, drop_bad=True).bad.found.values()
        assert bad.id == "line 2"
        assert bad.reason.startswith("label is '2', which does not say which answer is better (0 is the first answer")


def test_a_verdict_said_of_rows_without_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"language": "de", "chosen": "a", "rejected": "b"}\n')
    with Source(str(path)) as source, pytest.raises(FileError, match="--verdict is about two answers with a verdict"):
        recognised_in(source, Fields(verdict=Verdict.of("1/2")))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_of_a_file_of_no_format_all_fields_are_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in.{suffix}"
    row = {"language": "de", "notes": "n", "better_one": "a", "worse_one": "b"}
    if suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    else:
        lines = [",".join(row), ",".join(row.values())] if suffix == "csv" else [json.dumps(row)]
        path.write_text("".join(f"{line}\n" for line in lines))
    with (
        Source(str(path)) as source,
        pytest.raises(FileError, match="fields are language, notes, better_one, worse_one"),
    ):
        recognised_in(source, Fields())
