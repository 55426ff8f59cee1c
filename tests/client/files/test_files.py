"""Files of pairs: what is read of them, and that rows leave as they came."""

import csv
import datetime
import json
import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from congrad.files.formats import Format, format_of
from congrad.files.kinds.parquet_file import DECISION, ROWS
from congrad.files.kinds.rows import FileError
from congrad.files.recognition import recognised_in
from congrad.files.samples import Fields, read_samples, survey
from congrad.files.source import Source
from congrad.files.streams import descriptor_of, is_special
from congrad.files.target import check_writable, replacing, rows_to
from congrad.files.trial import Form, Trial
from pyarrow import parquet

TURNS = [{"role": "user", "content": "a"}]
ANSWER = [{"role": "assistant", "content": "ü\u2028"}]
OTHER = [{"role": "assistant", "content": "b"}]
OTHER_ANSWER = [{"role": "assistant", "content": "c"}]
VERDICT = {
    "conflict_score": 0.5,
    "conflicts_with": ["fr"],
    "truncated": False,
    "repeated": True,
    "length_ratio": 1.5,
    "reason": None,
    "detail": None,
}


def copied(source: Path, target: Path, keep: Callable[[int], bool] = lambda _: True, verdict: Any = None) -> None:
    """Writes some rows of a file into another, with a decision if there is one."""
    to = format_of(str(target))
    assert to is not None
    with Source(str(source), fields=Fields().by_column) as rows:
        form = Form(to, with_decision=verdict is not None)
        trial = Trial(rows.name, rows.format, [form])
        found = survey(rows, Fields(), trial)
        wanted = None if trial.is_needed else Fields().wanted
        with rows_to(str(target), form, rows, list(found.columns), found.schema) as writer:
            for index, row in enumerate(rows.rows(wanted)):
                if keep(index):
                    writer.write(row, {} if verdict is None else {DECISION: verdict})


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_leave_byte_for_byte(tmp_path: Path) -> None:
    lines = [
        b'{"language": "de",  "chosen": "a\xe2\x80\xa8b", "rejected": "\xc3\xbc", "extra": [1.0, 1e5, NaN]}\r\n',
        b' {"language":"fr","chosen":"a","rejected":"\\u00e9"} \n',
        b'{"language":"it","chosen":"a","rejected":"b"}',
    ]
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\n \n" + lines[1] + lines[2])
    copied(source, tmp_path / "out.ndjson")
    assert (tmp_path / "out.ndjson").read_bytes() == b"".join(lines) + b"\n"
    with Source(str(source)) as rows:
        assert [row.id for row in rows.rows()] == ["line 1", "line 4", "line 5"]


def test_items_of_a_json_list_leave_as_they_were_written(tmp_path: Path) -> None:
    items = [
        '{"language": "de",  "chosen": "],[", "rejected": "ü\u2028", "number": 1e5}',
        '{"language":"fr",\n "chosen":"a","rejected":"\\u00e9"}',
    ]
    source = written(tmp_path / "in.json", " [ " + " ,\n".join(items) + "\n]\n\n")
    copied(source, tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    assert [item in text for item in items] == [True, True]
    assert json.loads(text) == json.loads(source.read_text(encoding="utf-8"))
    copied(source, tmp_path / "none.json", keep=lambda _: False)
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_cells_of_csv_leave_as_they_came(tmp_path: Path) -> None:
    rows = [
        ["id", "rejected", "language", "prompt", "chosen", "ref_chosen_logps", "ref_rejected_logps", "note"],
        ["007", 'say "no",\nor not', "de", "", "x" * 200_000, "-1.50", "-2", "1,5"],
        ["008", json.dumps(OTHER), "fr", json.dumps(TURNS), json.dumps(ANSWER), "", "", "[{not JSON"],
    ]
    source = tmp_path / "in.csv"
    with source.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)
    first, second = read_samples(source)
    assert first == {
        "id": "row 1",
        "language": "de",
        "chosen": "x" * 200_000,
        "rejected": 'say "no",\nor not',
        "ref_chosen_logps": -1.5,
        "ref_rejected_logps": -2.0,
    }
    assert second == {"id": "row 2", "language": "fr", "prompt": TURNS, "chosen": ANSWER, "rejected": OTHER}
    copied(source, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows


def test_text_that_looks_like_a_list_stays_text(tmp_path: Path) -> None:
    cells = ["[1, 2, 3]", '[{"name": "no role"}]', "[{ broken"]
    for cell in cells:
        source = tmp_path / "in.csv"
        with source.open("w", newline="") as file:
            csv.writer(file).writerows([["language", "chosen", "rejected"], ["de", cell, "b"]])
        assert read_samples(source)[0]["chosen"] == cell


def parquet_with_messages(path: Path, rows: int = 3) -> pyarrow.Table:
    """A file as `datasets` writes it: struct types, nulls where a key is missing, notes beside the schema."""
    calls = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "y": None}}}]}]
    content = [
        {"language": "de", "prompt": TURNS, "chosen": calls, "rejected": OTHER, "day": datetime.date(2026, 1, 2)},
        {"language": "fr", "prompt": None, "chosen": TURNS + ANSWER, "rejected": TURNS + OTHER, "day": None},
        {"language": "it", "prompt": TURNS, "chosen": ANSWER, "rejected": OTHER, "day": None},
    ]
    table = pyarrow.Table.from_pylist([content[i % 3] for i in range(rows)])
    table = table.set_column(0, "language", table["language"].dictionary_encode())
    table = table.replace_schema_metadata({"huggingface": "{}"})
    parquet.write_table(table, path)
    return table


def test_a_value_that_json_has_no_form_of_its_own_for_is_a_cell_without_quotes(tmp_path: Path) -> None:
    """A table would show them, and no reader of CSV take it for a date or a number."""
    day, seconds = datetime.date(2026, 1, 2), datetime.timedelta(seconds=3)
    values = {"d": day, "t": datetime.datetime(2026, 1, 2, 3), "m": Decimal("1.50"), "s": seconds, "n": math.nan}
    row = {"language": "de", "chosen": "a", "rejected": "b"} | values
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "in.parquet")
    copied(tmp_path / "in.parquet", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    assert [found[name] for name in values] == ["2026-01-02", "2026-01-02T03:00:00", "1.50", "0:00:03", ""]


@pytest.mark.parametrize(
    ("name", "prompt"), [("sharegpt", {"from": "human", "value": "a"}), ("axolotl", {"role": "user", "content": "a"})]
)
def test_turns_alone_in_cells_of_csv_are_turns_where_the_format_has_such(
    name: str, prompt: dict[str, str], tmp_path: Path
) -> None:
    """As text, the JSON itself would be scored."""
    keys = list(prompt)
    answers = [{keys[0]: "assistant", keys[1]: text} for text in ("b", "c")]
    column = "conversations" if name == "sharegpt" else "messages"
    for cells in (answers, [[answer] for answer in answers]):
        with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["language", column, "chosen", "rejected"])
            writer.writerow(["de", *map(json.dumps, ([prompt], *cells))])
        with Source(str(tmp_path / "in.csv"), fields=Fields().by_column) as rows:
            found = recognised_in(rows, Fields())
            (sample,) = (found.fields.sample(row) for row in rows.rows())
        assert found.fields.format.name == name
        assert sample["prompt"] == TURNS
        assert sample["chosen"] == [{"role": "assistant", "content": "b"}]
        assert sample["rejected"] == OTHER_ANSWER


def test_an_answer_that_is_an_object_in_json_stays_text(tmp_path: Path) -> None:
    texts = ['{"from": "gpt", "value": "a"}', "{'from': 'Rom', 'to': 'Oslo'}", '[{"from": "Rom"}]']
    cells = "".join(f'de,"{text.replace(chr(34), chr(34) * 2)}",b\n' for text in texts)
    samples = read_samples(written(tmp_path / "in.csv", "language,chosen,rejected\n" + cells))
    assert [sample["chosen"] for sample in samples] == texts


def test_two_columns_of_one_name_are_refused_in_every_kind_of_file(tmp_path: Path) -> None:
    """One of them would be scored, whichever is meant."""
    parquet.write_table(
        pyarrow.table([["de"], ["a"], ["b"], ["c"]], names=["language", "chosen", "rejected", "chosen"]),
        tmp_path / "in.parquet",
    )
    written(tmp_path / "in.csv", "language,chosen,rejected,chosen\nde,a,b,c\n")
    written(tmp_path / "one.csv", "language,prompt,chosen,chosen\nde,a,b,c\n")
    for name in ("in.parquet", "in.csv", "one.csv"):
        with pytest.raises(FileError, match=f"{name}: has two columns 'chosen'"), Source(str(tmp_path / name)) as rows:
            recognised_in(rows, Fields())


def test_parquet_keeps_its_schema_and_its_nested_messages(tmp_path: Path) -> None:
    table = parquet_with_messages(tmp_path / "in.parquet", rows=10_000)
    copied(tmp_path / "in.parquet", tmp_path / "out.parquet", keep=lambda index: index % 2 == 0)
    kept = parquet.read_table(tmp_path / "out.parquet")
    own = parquet.read_schema(tmp_path / "in.parquet")
    assert kept.schema.equals(own, check_metadata=True)
    assert b"huggingface" in kept.schema.metadata
    assert kept.to_pylist() == table.to_pylist()[::2]
    copied(tmp_path / "in.parquet", tmp_path / "none.parquet", keep=lambda _: False)
    assert parquet.read_schema(tmp_path / "none.parquet").equals(own, check_metadata=True)


def test_nulls_of_parquet_are_missing_values(tmp_path: Path) -> None:
    parquet_with_messages(tmp_path / "in.parquet")
    first, second, _ = read_samples(tmp_path / "in.parquet")
    # But for what TRL hands to a chat template as it is.
    call = {"function": {"name": "f", "arguments": {"x": 1, "y": None}}}
    assert first["chosen"] == [{"role": "assistant", "tool_calls": [call]}]
    assert second == {"id": "row 2", "language": "fr", "chosen": TURNS + ANSWER, "rejected": TURNS + OTHER}


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("to", ["jsonl", "json", "csv", "parquet"])
def test_pairs_survive_every_conversion(suffix: str, to: str, tmp_path: Path) -> None:
    parquet_with_messages(tmp_path / "first.parquet")
    before = read_samples(tmp_path / "first.parquet")
    copied(tmp_path / "first.parquet", tmp_path / f"in.{suffix}")
    copied(tmp_path / f"in.{suffix}", tmp_path / f"out.{to}")
    after = read_samples(tmp_path / f"out.{to}")
    assert [sample | {"id": ""} for sample in after] == [sample | {"id": ""} for sample in before]
    if to in ("jsonl", "csv"):
        assert "2026-01-02" in (tmp_path / f"out.{to}").read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_a_dropped_row_has_its_decision_in_the_place_of_an_earlier_one(suffix: str, tmp_path: Path) -> None:
    rows = [{"language": "de", "chosen": "a", "rejected": "b", "congrad": "earlier"}]
    source = written(tmp_path / "first.json", json.dumps(rows))
    copied(source, tmp_path / f"in.{suffix}")
    copied(tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}", verdict=VERDICT)
    with Source(str(tmp_path / f"out.{suffix}")) as out:
        (row,) = out.rows()
    assert list(row.content) == ["language", "chosen", "rejected", "congrad"]
    found = json.loads(row.content["congrad"]) if suffix == "csv" else row.content["congrad"]
    assert found == {name: value for name, value in VERDICT.items() if value is not None or suffix != "parquet"}


def test_what_json_has_no_form_for_is_null_or_named(tmp_path: Path) -> None:
    rows = {"language": ["de"], "chosen": ["a"], "rejected": ["b"]}
    parquet.write_table(pyarrow.table(rows | {"x": [float("nan")]}), tmp_path / "nan.parquet")
    copied(tmp_path / "nan.parquet", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["x"] is None
    parquet.write_table(pyarrow.table(rows | {"x": [b"\x00"]}), tmp_path / "bytes.parquet")
    with pytest.raises(FileError, match=r"row 1: cannot be written as jsonl: [a-z]+: JSON has no form for bytes"):
        copied(tmp_path / "bytes.parquet", tmp_path / "bytes.jsonl")
    assert not (tmp_path / "bytes.jsonl").exists()


def test_half_a_surrogate_pair_in_a_column_of_the_users_is_written_as_it_was(tmp_path: Path) -> None:
    line = '{"language": "de", "chosen": "a", "rejected": "b", "note": "\\ud83d"}\n'
    source = written(tmp_path / "in.jsonl", line)
    copied(source, tmp_path / "out.jsonl", verdict=VERDICT)
    assert json.loads((tmp_path / "out.jsonl").read_text())["note"] == "\ud83d"


def test_columns_without_a_common_type_are_named(tmp_path: Path) -> None:
    source = written(
        tmp_path / "in.jsonl",
        '{"language": "de", "chosen": "a", "rejected": "b", "n": 1}\n'
        '{"language": "de", "chosen": "a", "rejected": "b", "n": {}}\n',
    )
    with pytest.raises(FileError, match="the values of 'n' are no column of Parquet"):
        copied(source, tmp_path / "out.parquet")


GOOD = '{"language": "de", "chosen": "a", "rejected": "b"'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.jsonl", GOOD + "}\n{", "line 2: is not JSON"),
        ("in.jsonl", "[]", "line 1: is not a JSON object"),
        ("in.jsonl", "[" * 100_000, "line 1: is not JSON"),
        ("in.jsonl", "{}", "line 1: language: is missing; there is no column 'language', .* there are no columns"),
        (
            "in.jsonl",
            '{"lang": "de"}',
            "line 1: language: is missing; there is no column .*; the columns are lang; .* --language auto",
        ),
        ("in.jsonl", GOOD.replace("de", "englisch") + "}", "line 1: language: 'englisch' is not a BCP 47"),
        ("in.jsonl", GOOD + ', "ref_chosen_logps": NaN}', "line 1: ref_chosen_logps: should be a finite"),
        ("in.jsonl", GOOD + ', "tools": "?"}', "line 1: tools: is a string, but not of JSON"),
        ("in.jsonl", GOOD + ', "colour": 1, "prompt": 1}', "line 1: prompt: should be a string or a list"),
        ("in.jsonl", GOOD + ', "images": ["a.png"]}', "line 1: images are not supported"),
        ("in.jsonl", " \n", "in.jsonl: holds no rows"),
        ("in.json", '{\n  "language": "de"\n}', "is an object, not a list of them; one object on each line is the"),
        ("in.json", '"text"', "in.json: is not a JSON list of objects"),
        ("in.json", "[1]", "in.json, row 1: is not a JSON object"),
        ("in.json", "[" + GOOD + "} {}]", "in.json: is not JSON: a comma or the end of the list is missing"),
        ("in.json", "[" + GOOD + "},]", "in.json: is not JSON"),
        ("in.json", "[" + GOOD + "}", "in.json: is not JSON: a comma or the end of the list is missing"),
        ("in.json", "[] []", "in.json: is not JSON: something follows the list"),
        ("in.csv", "", "in.csv: has no header"),
        ("in.csv", "language,chosen,chosen\n", "in.csv: has two columns 'chosen'"),
        ("in.csv", "language,chosen,rejected\nde,a\n", "row 1: has 2 cells; the header has 3"),
        ("in.csv", "language,chosen,rejected\nde,a,b\nde,a,\n", "row 2: rejected: is missing$"),
        ("in.csv", 'language,chosen,rejected\nde,"a"x,b\n', "in.csv, line 2: is not CSV .* should be doubled$"),
        (
            "in.csv",
            'language,chosen,rejected\nde,"a\nb",c\n\nde,"a,b\nde,a,b\n',
            "in.csv, line 5: is not CSV in UTF-8: .* a quote that is opened in this row is never closed$",
        ),
        ("in.csv", "language,chosen,rejected\nde,\"[{'role': 'user'}]\",b\n", "row 1: chosen: is a list as Python"),
        ("in.csv", "language,chosen,rejected,ref_chosen_logps\nde,a,b,x\n", "row 1: ref_chosen_logps: should be a num"),
        (
            "in.csv",
            "language,chosen,rejected\nde,\"{'from': 'gpt', 'value': 'a'}\",b\n",
            "row 1: chosen: is a turn as Python",
        ),
        (
            "in.csv",
            "language,chosen,rejected\rde,a,b\r",
            "in.csv, line 1: is not CSV .*; its lines should end with a line feed$",
        ),
        ("in.jsonl", GOOD + ',}\n"', r"line 1: is not JSON: [^:]* at character 50\b"),
        ("in.json", "[" + GOOD[:-1], "in.json: is not JSON: Unterminated string starting at character 47$"),
        ("in.jsonl", "{\n}\n", "in.jsonl: 2 rows are no samples\n  line 1: "),
        ("in.parquet", "PAR1", "in.parquet: is not Parquet"),
        ("in.txt", GOOD, "in.txt: its suffix is none of"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=message):
        read_samples(written(tmp_path / name, text))


@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv"])
def test_what_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"[\xff\x00")
    with pytest.raises(FileError, match=r"UTF-8: it has the byte 0xff .* iconv -f"):
        read_samples(tmp_path / name)


@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv"])
def test_a_file_that_was_cut_off_within_a_character_is_not_said_to_be_in_another_encoding_alone(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes('[{"language": "é'.encode()[:-1])
    with pytest.raises(FileError, match=r"UTF-8: it ends within a character, as .* cut off; or "):
        read_samples(tmp_path / name)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.jsonl: cannot be read: No such file"):
        read_samples(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(FileError, match=r"folder\.jsonl: cannot be read: Is a directory"):
        read_samples(tmp_path / "folder.jsonl")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", GOOD + "}\n")
    with Source(str(source)) as rows:
        assert survey(rows, Fields()).rows == 1
        written(source, GOOD + "}\n" + GOOD + "}\n")
        with pytest.raises(FileError, match="has changed while it was read"):
            list(rows.rows())


COMPLETION = '{"language": "de", "prompt": "a", "completion": "b"'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("in.jsonl", '{"language": "de", "completion": "b"}', "line 1: prompt: is missing$"),
        (
            "in.jsonl",
            '{"language": "de", "prompt": "a"}',
            r"chosen \(or completion\): is missing; there is no column 'chosen', 'rejected';",
        ),
        ("in.jsonl", COMPLETION + ', "chosen": "b"}', "line 1: has a completion beside chosen: a sample should be"),
        ("in.jsonl", '{"language": "de", "messages": []}', "line 1: chosen .or completion.: is missing"),
        ("in.jsonl", '{"language": "de", "messages": [{}]}', "line 1: a conversation in messages does not say"),
        ("in.csv", "language,messages\nde,[{}]\n", "row 1: a conversation in messages does not say"),
        ("in.csv", "language,prompt,completion\nde,\"[{'role': 'user'}]\",b\n", "row 1: prompt: is a list as Python"),
    ],
)
def test_what_is_wrong_with_a_completion_is_named_with_its_row(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match=message):
        read_samples(written(tmp_path / name, text))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_rows_of_both_kinds_are_told_apart_in_one_file(suffix: str, tmp_path: Path) -> None:
    """Columns of the other kind are null, or empty cells; a completion beside a whole pair is another column."""
    both = {"language": "de", "prompt": "p", "chosen": None, "rejected": None, "completion": None, "messages": "m"}
    rows = [both | {"completion": "c"}, both | {"chosen": "a", "rejected": "b"}]
    rows.append(rows[1] | {"completion": "another"})
    (tmp_path / "first.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    copied(tmp_path / "first.jsonl", tmp_path / f"in.{suffix}")
    pair = {"language": "de", "prompt": "p", "chosen": "a", "rejected": "b"}
    found = [
        {name: value for name, value in row.items() if name != "id"} for row in read_samples(tmp_path / f"in.{suffix}")
    ]
    assert found == [{"language": "de", "prompt": "p", "completion": "c"}, pair, pair]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_labels_of_completions_are_booleans_in_every_kind_of_file(suffix: str, tmp_path: Path) -> None:
    row = {"language": "de", "prompt": "p", "completion": "c"}
    rows = [row | {"label": label} for label in (True, False, None)]
    (tmp_path / "first.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    copied(tmp_path / "first.jsonl", tmp_path / f"in.{suffix}")
    assert [row.get("label") for row in read_samples(tmp_path / f"in.{suffix}")] == [True, False, None]


def test_a_column_label_of_another_use_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "in.csv", "language,prompt,completion,label\nde,p,c,3\nde,p,c,TRUE\n")
    assert [row.get("label") for row in read_samples(source)] == [None, True]
    with pytest.raises(FileError, match="row 1: label: should be a valid boolean"):
        sampled(source, Fields({"label": "label"}))


def test_messages_of_a_completion_survive_a_csv_file(tmp_path: Path) -> None:
    row = {"language": "de", "prompt": TURNS, "completion": ANSWER}
    written(tmp_path / "in.jsonl", json.dumps(row))
    copied(tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert read_samples(tmp_path / "out.csv") == [{"id": "row 1"} | row]


def test_a_completion_may_be_in_another_column(tmp_path: Path) -> None:
    source = written(tmp_path / "in.csv", "lang,messages,answer\nde,p,c\n")
    fields = Fields({"language": "lang", "prompt": "messages", "completion": "answer"})
    assert sampled(source, fields) == [{"id": "row 1", "language": "de", "prompt": "p", "completion": "c"}]
    with pytest.raises(FileError, match="has a completion beside chosen and rejected"):
        sampled(written(tmp_path / "pairs.jsonl", GOOD + "}"), Fields({"completion": "chosen"}))


def sampled(path: Path, fields: Fields) -> Iterable[dict[str, Any]]:
    with Source(str(path), fields=fields.by_column) as source:
        survey(source, fields)
        return [fields.sample(row) for row in source.rows()]


def test_columns_of_other_names_are_fields(tmp_path: Path) -> None:
    source = written(tmp_path / "in.csv", f"lang,better,chosen\nde,{json.dumps('a')},b\n")
    fields = Fields({"language": "lang", "chosen": "better", "rejected": "chosen"})
    assert sampled(source, fields) == [{"id": "row 1", "language": "de", "chosen": "a", "rejected": "b"}]
    fields = Fields({"chosen": "better", "rejected": "chosen"}, language="pt_br")
    assert sampled(source, fields) == [{"id": "row 1", "language": "pt_br", "chosen": "a", "rejected": "b"}]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(name: str, tmp_path: Path) -> None:
    text = "language,chosen,rejected\nde,a,b\n" if name == "in.csv" else GOOD + "}"
    source = written(tmp_path / name, text)
    with pytest.raises(FileError, match="no column 'query' for prompt; the columns are language, chosen, rejected"):
        sampled(source, Fields({"prompt": "query"}))


@pytest.mark.parametrize("path", ["meta.question", "meta.q.text", "meta.turns.7", "answers.0"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_path_that_leads_nowhere_is_told(path: str, suffix: str, tmp_path: Path) -> None:
    """Its prompt would be lost in silence; a path that leads somewhere does so in the cells of a CSV file too."""
    row = {"language": "de", "chosen": "a", "rejected": "b", "meta": {"q": "c", "turns": ["d"]}, "answers": None}
    written(tmp_path / "in.jsonl", json.dumps(row) + "\n")
    copied(tmp_path / "in.jsonl", source := tmp_path / f"again{suffix}")
    for there, prompt in (("meta.q", "c"), ("meta.turns.-1", "d")):
        fields = Fields({"prompt": there})
        with Source(str(source), fields=fields.by_column) as rows:
            assert survey(rows, fields).rows == 1
            assert [fields.sample(row)["prompt"] for row in rows.rows()] == [prompt]
    fields = Fields({"prompt": path})
    with Source(str(source), fields=fields.by_column) as rows, pytest.raises(FileError) as caught:
        survey(rows, fields)
    assert f"{source}: no row has anything at '{path}' for prompt; the columns are language, chosen" in str(
        caught.value
    )


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    target.chmod(0o640)
    with suppress(ZeroDivisionError), replacing(str(target)) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert target.read_text() == "before"
    link = tmp_path / "link"
    link.symlink_to(target)
    with replacing(str(link)) as file:
        file.write(b"after")
    assert target.read_text() == "after"
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


def test_a_device_is_written_to_and_not_replaced() -> None:
    with replacing("/dev/null") as file:
        file.write(b"gone")
    assert Path("/dev/null").is_char_device()


def test_formats_are_told_by_suffix() -> None:
    names = ("-", "a.JSONL", "b.ndjson", "c.parquet", "d.gz", "e", "f.csv.GZ", "g.json.zst", "h.tsv")
    assert {name: format_of(name) for name in names} == {
        "-": Format.JSONL,
        "a.JSONL": Format.JSONL,
        "b.ndjson": Format.JSONL,
        "c.parquet": Format.PARQUET,
        "d.gz": None,
        "e": None,
        "f.csv.GZ": Format.CSV,
        "g.json.zst": Format.JSON,
        "h.tsv": Format.TSV,
    }


def test_an_answer_in_code_is_read_without_a_word_of_python(tmp_path: Path) -> None:
    """It begins as a turn that Python has printed, and Python warns of what is escaped in it."""
    answer = r"{'pattern': '\d+'}"
    source = tmp_path / "in.csv"
    source.write_text(f'language,chosen,rejected\nde,"{answer}",b\n', encoding="utf-8")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert [sample["chosen"] for sample in read_samples(source)] == [answer]
    assert not [str(one.message) for one in warned]


def test_a_cell_with_a_carriage_return_can_be_read_again(tmp_path: Path) -> None:
    cells = ["a\rb", "\r", "a\r\nb\n", "x\r\n"]
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["language", "chosen", "rejected"], *(["de", cell, "r"] for cell in cells)])
    copied(tmp_path / "in.csv", tmp_path / "first.csv")
    copied(tmp_path / "first.csv", tmp_path / "in.jsonl")
    copied(tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert [sample["chosen"] for sample in read_samples(tmp_path / "out.csv")] == cells
    assert (tmp_path / "out.csv").read_bytes().startswith(b"language,chosen,rejected\nde,")


@pytest.fixture
def far_future(tmp_path: Path) -> Path:
    """A file with a time that Python has no form for, in a column that no sample needs."""
    times = pyarrow.array([10**18, 2], pyarrow.timestamp("us"))
    table = pyarrow.table({"language": ["de", "fr"], "chosen": ["a", "b"], "rejected": ["c", "d"], "time": times})
    parquet.write_table(table, tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_a_column_that_no_sample_needs_is_copied_unread(far_future: Path, tmp_path: Path) -> None:
    copied(far_future, tmp_path / "out.parquet", keep=lambda index: index == 0, verdict=VERDICT)
    kept = parquet.read_table(tmp_path / "out.parquet")
    assert kept["time"].cast(pyarrow.int64()).to_pylist() == [10**18]
    assert kept[DECISION].to_pylist() == [VERDICT]


def test_a_value_that_python_has_no_form_for_is_no_crash(far_future: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"in\.parquet: cannot be read after row 0: date value out of range"):
        copied(far_future, tmp_path / "out.jsonl")


@pytest.mark.parametrize("name", ["image", "images"])
def test_a_pair_without_images_is_text(name: str, tmp_path: Path) -> None:
    lines = "".join(GOOD + f', "{name}": {value}}}\n' for value in ("null", "[]"))
    source = written(tmp_path / "in.jsonl", lines)
    assert [name in sample for sample in read_samples(source)] == [False, False]
    copied(source, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == lines
    rows = {"language": ["de"] * 2, "chosen": ["a"] * 2, "rejected": ["b"] * 2}
    strings = pyarrow.list_(pyarrow.string())
    parquet.write_table(pyarrow.table(rows | {name: pyarrow.array([None, []], strings)}), tmp_path / "in.parquet")
    assert [name in sample for sample in read_samples(tmp_path / "in.parquet")] == [False, False]
    parquet.write_table(pyarrow.table(rows | {name: pyarrow.array([[], ["a.png"]], strings)}), tmp_path / "in.parquet")
    with pytest.raises(FileError, match="row 2: images are not supported"):
        read_samples(tmp_path / "in.parquet")


def test_a_stream_is_told_by_any_of_its_names(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", str(link)):
        assert descriptor_of(name) == 1
        assert is_special(name)
    for name in ("/dev/null", str(tmp_path / "1"), "1"):
        assert descriptor_of(name) is None
    assert not is_special(str(tmp_path / "1"))


def test_what_is_open_is_written_on_and_not_replaced(tmp_path: Path) -> None:
    target = written(tmp_path / "all.jsonl", "earlier\n")
    with target.open("ab") as file:
        check_writable(f"/dev/fd/{file.fileno()}")
        with replacing(f"/dev/fd/{file.fileno()}") as stream:
            stream.write(b"later\n")
        gone = f"/proc/self/fd/{file.fileno()}"
    assert target.read_text() == "earlier\nlater\n"
    with pytest.raises(FileError, match="cannot be written: Bad file descriptor"):
        check_writable(gone)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(FileError, match="is a symbolic link that leads back to itself"):
        check_writable(str(tmp_path / "a"))


MANY = 2 * ROWS
"""Rows, after which the last one is looked at by itself."""


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ('"n": 1', '"n": "x"', "'n'.* int64 vs string"),
        ('"n": {}', '"n": {}', "'n' are no column of Parquet: Cannot write struct type"),
        ('"n": 1', f'"n": {10**30}', "'n' are no column of Parquet"),
        ('"n": 1', '"n": "\\ud83d"', "'n' are no column of Parquet"),
        ('"n": 1', '"\\ud83d": 1', "the values of '.ud83d' are no column of Parquet"),
    ],
)
def test_what_parquet_does_not_take_is_found_when_rows_are_checked(
    first: str, last: str, message: str, tmp_path: Path
) -> None:
    source = written(tmp_path / "in.jsonl", f"{GOOD}, {first}}}\n" * MANY + f"{GOOD}, {last}}}\n")
    with Source(str(source)) as rows, pytest.raises(FileError, match=message):
        survey(rows, Fields(), Trial(rows.name, rows.format, [Form(Format.PARQUET)]))


def test_columns_have_the_types_of_all_rows_wherever_they_are_written(tmp_path: Path) -> None:
    lines = [GOOD + ', "n": 1, "meta": {}}\n'] * MANY + [GOOD + ', "n": 1.5, "meta": {"a": [1]}}\n']
    source = written(tmp_path / "in.jsonl", "".join(lines))
    copied(source, tmp_path / "kept.parquet", keep=lambda index: index < 3)
    copied(source, tmp_path / "rest.parquet", keep=lambda index: index >= 3, verdict=VERDICT)
    kept, rest = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("kept", "rest"))
    assert kept["n"].to_pylist() == [1.0] * 3
    assert rest.drop_columns([DECISION]).schema.equals(kept.schema)
    assert rest["meta"].to_pylist()[-2:] == [{"a": None}, {"a": [1]}]
    assert rest.num_rows == MANY - 2
