"""Rows that are no samples: all of them are named, each in one sentence, and the same in every format."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from congrad.contract import wire
from congrad.files.bad_rows import NAMED, BadRowsError
from congrad.files.kinds.rows import UNREADABLE, FileError
from congrad.files.recognition import recognised_in
from congrad.files.samples import Fields, Survey, survey
from congrad.files.source import Source
from pyarrow import parquet

GOOD: dict[str, Any] = {"language": "de", "prompt": "p", "chosen": "a", "rejected": "b"}
SUFFIXES = ["jsonl", "json", "csv", "parquet"]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the format of the suffix."""
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(GOOD))
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            parquet.write_table(pyarrow.Table.from_pylist([dict.fromkeys(GOOD) | row for row in rows]), path)
    return path


def surveyed(path: Path, drop_bad: bool = True) -> Survey:
    with Source(str(path), fields=Fields().by_column) as source:
        return survey(source, Fields(), drop_bad=drop_bad)


def reasons(path: Path) -> list[str]:
    """What is wrong with each row that is no sample."""
    return [row.reason for row in surveyed(path).bad.found.values()]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("field", ["language", "chosen", "rejected"])
def test_a_field_that_is_null_or_missing_is_the_same_in_every_format(field: str, suffix: str, tmp_path: Path) -> None:
    without = {name: value for name, value in GOOD.items() if name != field}
    path = written(tmp_path / f"in.{suffix}", [GOOD, GOOD | {field: None}, without])
    assert reasons(path) == [f"{field}: is missing"] * 2


@pytest.mark.parametrize("drop_bad", [False, True])
def test_the_text_of_what_cannot_be_read_is_in_no_field_of_the_file(drop_bad: bool, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(GOOD, indent=2))  # one object over several lines, of which none can be read
    with pytest.raises(BadRowsError, match=r"^.*in.jsonl: 6 rows are no samples\n") as caught:
        surveyed(path, drop_bad)
    assert "column" not in str(caught.value)
    path.write_text('{\n{"language": "de"}\n')
    with pytest.raises(BadRowsError, match="no column 'chosen', 'rejected'; the columns are language\n"):
        surveyed(path, drop_bad)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("field", ["chosen", "rejected"])
def test_a_completion_without_any_text_is_no_sample_in_any_format(field: str, suffix: str, tmp_path: Path) -> None:
    (reason,) = reasons(written(tmp_path / f"in.{suffix}", [GOOD, GOOD | {field: ""}]))
    assert reason in (f"{field}: is missing", f"{field}: is empty")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_prompt_that_is_null_is_an_implicit_one_in_every_format(suffix: str, tmp_path: Path) -> None:
    row = GOOD | {"prompt": None, "chosen": "p a", "rejected": "p b"}
    path = written(tmp_path / f"in.{suffix}", [row])
    assert surveyed(path).rows == 1
    with Source(str(path), fields=Fields().by_column) as source:
        (found,) = (Fields().sample(row) for row in source.rows())
    assert "prompt" not in found


IMAGE = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
TURN = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            GOOD | {"prompt": IMAGE, "chosen": [TURN], "rejected": [TURN]},
            "prompt.0.content.0: is of type 'image': images and other media are not supported, only text",
        ),
        (GOOD | {"prompt": "Hallo \ud83d"}, "prompt: has a lone surrogate at character 6, so it is not Unicode text"),
        (GOOD | {"chosen": [TURN | {"mood": 1}], "rejected": [TURN]}, "chosen.0.mood: is not a known field"),
        (GOOD | {"chosen": [{"content": "a"}], "rejected": [TURN]}, "chosen.0.role: is missing"),
        (GOOD | {"chosen": [{"role": "", "content": "a"}], "rejected": [TURN]}, "chosen.0.role: should have at least"),
        (GOOD | {"prompt": []}, "prompt: should have at least 1 item; it has 0"),
        (GOOD | {"chosen": 1}, "chosen: should be a string or a list of {role, content} messages"),
        (GOOD | {"chosen": [TURN]}, "chosen and rejected should both be strings or both be lists of messages"),
        ({"language": "de", "chosen": [TURN], "rejected": [OTHER]}, "chosen and rejected begin with different"),
        ({"language": "de", "chosen": [TURN, OTHER], "rejected": [TURN]}, "rejected is one message, so there is no"),
        (
            GOOD | {"chosen": [TURN], "rejected": [OTHER]},
            "chosen and rejected begin with different messages, so there is no prompt; beside messages the",
        ),
        (GOOD | {"ref_chosen_logps": "x"}, "ref_chosen_logps: should be a valid number"),
    ],
)
def test_what_is_wrong_is_said_in_the_names_of_the_row(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (found,) = reasons(written(tmp_path / "in.jsonl", [GOOD, row]))
    assert found.startswith(reason)
    assert not any(word in found for word in ("tagged-union", "function-", "Input", "Value error", "\n"))


def test_all_rows_at_fault_are_named_at_once(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"chosen": None}, GOOD, GOOD | {"language": None}]
    with pytest.raises(BadRowsError) as caught:
        surveyed(written(tmp_path / "in.jsonl", rows), drop_bad=False)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/in.jsonl: 2 rows are no samples",
        "  line 2: chosen: is missing",
        "  line 4: language: is missing",
    ]


def test_a_fault_of_very_many_rows_is_one_line_and_of_very_many_faults_the_first_are_told(tmp_path: Path) -> None:
    rows = [GOOD, *[GOOD | {"chosen": ""}] * 103, *(GOOD | {"language": f"?{number}"} for number in range(30))]
    with pytest.raises(BadRowsError) as caught:
        surveyed(written(tmp_path / "in.csv", rows), drop_bad=False)
    first, same, *others, last = str(caught.value).splitlines()
    assert first.endswith("in.csv: 133 rows are no samples")
    assert same == "  row 2, row 3, row 4, row 5, row 6 and 98 more: chosen: is missing"
    assert len(others) == NAMED - 1
    assert others[0].startswith("  row 105: language: '?0' is not")
    assert last == "  and 11 more"


@pytest.mark.parametrize(
    ("name", "text", "faults"),
    [
        ("in.jsonl", b'{"language": "de", "chosen": "a", "rejected": "b"}\n{"language": \n[1]\n\xff\n',
         {"line 2": "is not JSON", "line 3": "is not a JSON object", "line 4": "is not UTF-8"}),
        ("in.json", b'[{"language": "de", "chosen": "a", "rejected": "b"}, 7]', {"row 2": "is not a JSON object"}),
        ("in.csv", b"language,chosen,rejected,ref_chosen_logps\nde,a,b,\nde,a\nde,a,b,x\n",
         {"row 2": "has 2 cells; the header has 4", "row 3": "ref_chosen_logps: should be a number; it is 'x'"}),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_does_not_hide_those_after_it(
    name: str, text: bytes, faults: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text)
    found = surveyed(path)
    assert found.rows == 1
    told = {row.id: row.reason for row in found.bad.found.values()}
    assert told.keys() == faults.keys()
    assert all(told[row].startswith(fault) for row, fault in faults.items())
    with Source(str(path), fields=Fields().by_column) as source, pytest.raises(FileError, match=next(iter(faults))):
        list(source.rows())
    assert (UNREADABLE in found.columns) == any("should be a number" not in fault for fault in faults.values())


def test_cells_of_a_row_that_has_too_many_are_kept_as_the_line_that_they_were(tmp_path: Path) -> None:
    """Else nobody could tell where one ends: what stands between them may be in them."""
    path = tmp_path / "in.csv"
    path.write_text('language;chosen;rejected\nde;a;b\nde;"a;b";"c, d";e\n', encoding="utf-8")
    with Source(str(path)) as source:
        _, bad = source.all_rows()
    assert bad.content == {UNREADABLE: 'de;"a;b";c, d;e'}


def test_a_file_of_nothing_else_is_refused_even_where_bad_rows_are_dropped(tmp_path: Path) -> None:
    with pytest.raises(BadRowsError, match="line 1: chosen: is empty") as refused:
        surveyed(written(tmp_path / "in.jsonl", [GOOD | {"chosen": ""}]))
    assert refused.value.are_all


def test_bad_rows_have_their_place_among_the_decisions(tmp_path: Path) -> None:
    rows = [GOOD | {"chosen": None}, GOOD, GOOD | {"language": "?"}, GOOD]
    found = surveyed(written(tmp_path / "in.jsonl", rows))
    good = [wire.Decision(name, "de", True, -0.5, [], False, None) for name in ("line 2", "line 4")]
    among = found.bad.among(good)
    assert [decision.id for decision in among] == ["line 1", "line 2", "line 3", "line 4"]
    assert [decision.language for decision in among] == ["de", "de", "und", "de"]
    assert [decision.reason for decision in among] == ["bad_row", None, "bad_row", None]
    assert [decision.keep for decision in among] == [False, True, False, True]


def test_ties_are_left_out_and_are_no_bad_rows(tmp_path: Path) -> None:
    pair = {"lang": "ja", "response1": "a", "response2": "b"}
    rows = [pair | {"overall_preference": number} for number in (-1, 0, 2, 0)]
    with Source(str(written(tmp_path / "in.jsonl", rows))) as source:
        found = survey(source, recognised_in(source, Fields()).fields)
    assert (found.rows, found.bad.total, found.bad.ties) == (2, 0, 2)
    good = [wire.Decision(name, "ja", True, -0.5, [], False, None) for name in ("line 1", "line 3")]
    among = found.bad.among(good)
    assert [(one.id, one.language, one.reason) for one in among] == [
        ("line 1", "ja", None), ("line 2", "ja", "tie"), ("line 3", "ja", None), ("line 4", "ja", "tie"),
    ]  # fmt: skip
    with (
        Source(str(written(tmp_path / "ties.jsonl", rows[1::2]))) as source,
        pytest.raises(FileError, match="holds no rows but ties"),
    ):
        survey(source, recognised_in(source, Fields()).fields)


def test_a_row_that_is_of_no_format_keeps_the_language_that_it_says(tmp_path: Path) -> None:
    rows = [{"lang": "ja", "response1": "a", "response2": "b", "overall_preference": value} for value in (-1, "?", 2)]
    with Source(str(written(tmp_path / "in.jsonl", rows))) as source:
        found = survey(source, recognised_in(source, Fields()).fields, drop_bad=True)
    assert [row.language for row in found.bad.found.values()] == ["ja"]
