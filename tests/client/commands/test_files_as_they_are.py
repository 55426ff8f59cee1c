"""`congrad filter` on files as they lie, as far as a dry run goes: what it says first, and what it refuses."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from congrad.commands.app import app
from typer.testing import CliRunner

Q, GOOD, BAD = "Wie spät ist es?", "Kurz nach drei.", "Geh weg."
ASKED = {"role": "user", "content": Q}
ANSWERED, REBUFFED = {"role": "assistant", "content": GOOD}, {"role": "assistant", "content": BAD}


def planned(source: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["filter", str(source), "-o", str(source.parent / "out"), "--dry-run", *options])


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": Q, "system": "Sei kurz.", "chosen": GOOD, "rejected": BAD}, "Axolotl's question format"),
        (
            {"input": {"messages": [ASKED]}, "preferred_output": [ANSWERED], "non_preferred_output": [REBUFFED]},
            "OpenAI's preference format",
        ),
        ({"messages": [ASKED, ANSWERED], "rejected_response": BAD}, "ms-swift's preference format"),
        (
            {"context": [ASKED], "response1": GOOD, "response2": BAD, "overall_preference": -1},
            "two answers, response1 and response2, the better one by overall_preference",
        ),
        (
            {"prompt": Q, "completion": GOOD, "label": True},
            "TRL's standard unpaired completions (KTO)",
        ),
    ],
)
def test_what_the_rows_are_is_said_in_the_first_line(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", row | {"lang": "deu_Latn"}, row | {"lang": "French"})
    done = planned(source)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith(f"read as {said}")
    assert done.stdout.splitlines()[0].endswith("; language from lang")
    assert {"de", "fr"} <= set(done.stdout.replace("│", " ").split())


def test_a_dry_run_says_which_loss_labelled_completions_need(tmp_path: Path) -> None:
    source = written(tmp_path / "in.jsonl", {"language": "de", "prompt": Q, "completion": GOOD, "label": True})
    done = planned(source)
    assert done.exit_code == 0
    assert "completions with a label need a service with the loss kto: CONGRAD_LOSS=kto congrad up" in done.output
    (tmp_path / "config.json").touch()
    done = planned(source, "--model", str(tmp_path))
    assert "completions with a label: the stack is served with CONGRAD_LOSS=kto" in done.output


def test_a_dry_run_names_a_completion_that_the_run_would_be_refused_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONGRAD_LOSS", raising=False)
    row = {"language": "de", "prompt": Q, "completion": GOOD}
    source = written(tmp_path / "in.jsonl", row | {"label": True}, row, row | {"label": False})
    done = planned(source)
    assert done.exit_code == 0
    assert "but line 2 has a completion without a label" in done.output
    (tmp_path / "config.json").touch()
    done = planned(source, "--model", str(tmp_path))
    assert done.exit_code == 2
    assert "line 2 has a completion without a label" in done.stderr


def test_a_compressed_file_and_a_folder_go_in_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    row = {"language": "de", "prompt": Q, "chosen": GOOD, "rejected": BAD}
    for name in ("a", "b"):
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    done = planned(folder, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == 2
    assert "all rows are in one language (de)" in done.stderr


def test_rows_of_no_format_and_lost_prompts_end_the_run(tmp_path: Path) -> None:
    done = planned(written(tmp_path / "in.jsonl", {"language": "de", "text": Q, "score": 1}))
    assert done.exit_code == 2
    assert "the fields are language, text, score. Say with --field which is which" in done.stderr
    lost = {"language": "de", "query": Q, "chosen": GOOD, "rejected": BAD}
    source = written(tmp_path / "in.jsonl", lost)
    assert "give --field prompt=query" in planned(source).stderr
    assert planned(source, "--field", "prompt=query").exit_code == 0


def test_languages_that_are_none_are_refused_with_what_was_meant(tmp_path: Path) -> None:
    row = {"prompt": Q, "chosen": GOOD, "rejected": BAD}
    done = planned(written(tmp_path / "in.jsonl", *(row | {"language": code} for code in ("jp", "nan", "de"))))
    assert done.exit_code == 2
    assert "line 1: language: 'jp' is not" in done.stderr
    assert "did you mean 'ja' (Japanese)?" in done.stderr
    assert "line 2: language: 'nan' is not" in done.stderr


def test_roles_are_named_as_role_and_name(tmp_path: Path) -> None:
    row = {
        "language": "de",
        "conversations": [{"from": "Kunde", "value": Q}],
        "chosen": {"from": "Beraterin", "value": GOOD},
        "rejected": {"from": "Beraterin", "value": BAD},
    }
    source = written(tmp_path / "in.jsonl", row)
    assert planned(source, "--role", "user=Kunde", "--role", "assistant=Beraterin").exit_code == 0
    assert "should be ROLE=NAME" in planned(source, "--role", "Kunde").stderr
    assert "there is no format 'sharegtp'" in " ".join(planned(source, "--format", "sharegtp").stderr.split())


def test_a_verdict_that_can_be_read_either_way_ends_the_run_until_it_is_said(tmp_path: Path) -> None:
    row = {"prompt": Q, "response_a": GOOD, "response_b": BAD, "label": 1}
    source = written(tmp_path / "in.jsonl", *(row | {"language": code} for code in ("de", "fr")))
    done = planned(source)
    assert done.exit_code == 2
    assert "label holds nothing but 1, which does not say which of response_a and response_b is better" in done.stderr
    done = planned(source, "--verdict", "1/2")
    assert done.exit_code == 0, done.output
    assert "the better one by label (1 is the first answer, 2 the second)" in done.stdout.splitlines()[0]
    assert planned(source, "--verdict", "+/-").exit_code == 0
    assert "should be FIRST/SECOND, such as 0/1" in " ".join(planned(source, "--verdict", "1").stderr.split())
