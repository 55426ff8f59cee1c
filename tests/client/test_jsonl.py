"""Files of pairs, and languages."""

import json
from pathlib import Path

import pytest
from congrad import wire
from congrad.jsonl import FileError, read_rows, write_dropped, write_kept
from congrad.languages import normalise_language


def decision(row_id: str, keep: bool) -> wire.Decision:
    return wire.Decision(
        id=row_id, language="de", keep=keep, conflict_score=0.5, conflicts_with=["fr"], truncated=False, reason=None
    )


def test_kept_rows_come_out_as_they_went_in(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [
        '{"language": "de",  "chosen": "a\u2028b", "rejected": "ü", "extra": [1]}',
        '{"language":"fr","chosen":"a","rejected":"b"}',
    ]
    source.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    rows = read_rows(source)
    assert [row.number for row in rows] == [1, 3]
    assert rows[0].sample == {"id": "line 1", "language": "de", "chosen": "a\u2028b", "rejected": "ü"}
    decisions = [decision("line 1", True), decision("line 3", False)]
    write_kept(tmp_path / "kept.jsonl", rows, decisions)
    assert (tmp_path / "kept.jsonl").read_text(encoding="utf-8") == lines[0] + "\n"
    write_dropped(tmp_path / "dropped.jsonl", rows, decisions)
    (dropped,) = read_rows(tmp_path / "dropped.jsonl")
    assert dropped.content["congrad"]["conflict_score"] == 0.5


def test_every_column_of_trl_is_sent(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    columns = {
        "language": "de",
        "prompt": [{"role": "user", "content": "a"}],
        "chosen": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": None}}}]}],
        "rejected": [{"role": "assistant", "content": "b"}],
        "ref_chosen_logps": -1.0,
        "ref_rejected_logps": -2.0,
        "tools": '[{"type": "function"}]',
        "chat_template_kwargs": {"enable_thinking": None},
    }
    source.write_text(json.dumps(columns | {"score": 1}))
    (row,) = read_rows(source)
    assert row.sample == columns | {"id": "line 1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"language": "de", "chosen": "a", "rejected": "b"}\n{', "line 2: is not JSON"),
        ("[]", "line 1: is not a JSON object"),
        ("{}", "line 1: language: Field required"),
        ('{"language": "english", "chosen": "a", "rejected": "b"}', "line 1: language: 'english' is not a BCP 47"),
        ('{"language": "de", "chosen": "a", "rejected": "b", "ref_chosen_logps": NaN}', "ref_chosen_logps: Input"),
        ('{"language": "de", "chosen": "a", "rejected": "b", "tools": "?"}', "tools: is a string, but not of JSON"),
        ('{"language": "de", "chosen": "a", "rejected": "b", "images": []}', "line 1: images are not supported"),
    ],
)
def test_a_line_that_is_no_row_is_named(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(text)
    with pytest.raises(FileError, match=message):
        read_rows(source)


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [("de", "de"), ("zh_cn", "zh-CN"), ("PT-br", "pt-BR"), ("iw", "he"), ("zh-hant-tw", "zh-Hant-TW"), ("sw", "sw")],
)
def test_language_tags_are_normalised(tag: str, canonical: str) -> None:
    assert normalise_language(tag) == canonical


@pytest.mark.parametrize("tag", ["", "english", "8t-ufb_86h", "de DE", "x", "de-", "日本語", "a" * 65])
def test_what_is_no_language_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is not a BCP 47 language tag"):
        normalise_language(tag)
