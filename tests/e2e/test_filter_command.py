"""`congrad filter` on a real service, as a user runs it: through crashes, interrupts and rows that are wrong."""

import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from congrad import Client, ConflictError
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.journal import Journal, journal_of, open_journal
from congrad.contract import wire
from congrad.files.samples import Fields, survey
from congrad.files.source import Source
from congrad.local.redis_server import free_port
from congrad.local.stack import Stack
from congrad.showing.passes import Passes
from pyarrow import parquet
from support.commands import CONGRAD, run
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples, without_prompt


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Writes rows as JSON Lines; the lines."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return lines


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_a_file_is_split_into_kept_and_dropped(stack: Stack, direction: str, tmp_path: Path) -> None:
    source, kept, dropped, scores = (tmp_path / f"{name}.jsonl" for name in ("in", "kept", "dropped", "scores"))
    lines = write_rows(source, [row | {"mine": number} for number, row in enumerate(demo_samples(each=3))])
    done = run("filter", str(source), "-o", str(kept), "--dropped", str(dropped), "--scores", str(scores),
               "--url", stack.url, "--direction", direction, "--batch-size", "20")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "By language" in done.stderr
    assert done.stdout == ""
    decisions = read_rows(scores)
    assert kept.read_text(encoding="utf-8") == "".join(
        line for line, decision in zip(lines, decisions, strict=True) if decision["keep"]
    )
    assert [row["mine"] for row in read_rows(dropped)] == [
        number for number, decision in enumerate(decisions) if not decision["keep"]
    ]
    assert all(row["congrad"]["conflict_score"] > 0 for row in read_rows(dropped))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dropped.jsonl",
        "in.jsonl",
        "kept.jsonl",
        "scores.jsonl",
    ]


def test_a_run_brings_up_a_stack_of_its_own_and_goes_on_after_an_interrupt(tmp_path: Path) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    write_rows(source, demo_samples("de", "ja", each=2))
    command = ("filter", str(source), "--model", str(DEMO_CHECKPOINT), "-o", str(kept))
    with subprocess.Popen([*CONGRAD, *command], stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "kept.jsonl.congrad.d" / "log").exists():
            assert process.poll() is None
            time.sleep(0.1)  # nothing tells when a file is made
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "interrupted while the stack started; nothing was sent" in said
    done = run(*command, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "scored against version" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "kept.jsonl"]


def test_a_parquet_file_is_filtered_with_its_schema(stack: Stack, direction: str, tmp_path: Path) -> None:
    rows = [
        {
            "lang": row["language"],
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "better": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
            "number": number,
        }
        for number, row in enumerate(demo_samples("de", "fr", each=6))
    ]
    source, kept, dropped = (tmp_path / f"{name}.parquet" for name in ("in", "kept", "dropped"))
    parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    done = run("filter", str(source), "-o", str(kept), "--dropped", str(dropped), "--url", stack.url, "--json",
               "--direction", direction, "--keep", "0.5",
               "--field", "chosen=better", "--language-field", "lang")  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["kept"], summary["dropped"]) == (12, 6, 6)
    assert {tag: counts["kept"] for tag, counts in summary["by_language"].items()} == {"de": 3, "fr": 3}
    assert summary["direction"]["languages"] == {"de": 6, "fr": 6}
    left, gone = parquet.read_table(kept), parquet.read_table(dropped)
    assert left.schema.equals(parquet.read_schema(source), check_metadata=True)
    assert left.to_pylist() == [rows[number] for number in left["number"].to_pylist()]
    assert sorted(left["number"].to_pylist() + gone["number"].to_pylist()) == list(range(12))
    worst_kept = max(summary["by_language"][tag]["mean_conflict"] for tag in ("de", "fr"))
    assert max(row["conflict_score"] for row in gone["congrad"].to_pylist()) >= worst_kept


def test_rows_go_through_a_pipe(stack: Stack, direction: str) -> None:
    rows = demo_samples("de", "fr", each=4)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    at = ("--url", stack.url, "--direction", direction, "--keep", "0.5", "--within", "request", "--json")
    done = run("filter", "-", "-o", "-", *at, stdin=text)
    assert done.returncode == 0, done.stderr
    kept = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kept) == 4
    assert all(row in rows for row in kept)
    assert json.loads(done.stderr)["kept"] == 4


def test_a_fraction_is_of_the_whole_file_and_not_of_a_request(stack: Stack, direction: str, tmp_path: Path) -> None:
    source, scores = tmp_path / "in.jsonl", tmp_path / "scores.jsonl"
    write_rows(source, demo_samples("de", "fr", each=8))
    done = run("filter", str(source), "-o", str(tmp_path / "kept.jsonl"), "--scores", str(scores), "--url", stack.url,
               "--direction", direction, "--batch-size", "3", "--keep", "0.25", "--within", "language")  # fmt: skip
    assert done.returncode == 0, done.stderr
    decisions = [row for row in read_rows(scores) if row["conflict_score"] is not None]
    for tag in ("de", "fr"):
        own = [row for row in decisions if row["language"] == tag]
        ranked = sorted(own, key=lambda row: row["conflict_score"])
        limit = round(0.25 * len(own))
        assert all(row["keep"] for row in ranked[:limit])
        assert not any(row["keep"] for row in ranked[limit:])


def test_a_fraction_among_like_lengths_is_of_the_whole_file_too(stack: Stack, direction: str, tmp_path: Path) -> None:
    source, kept, scores = (tmp_path / f"{name}.jsonl" for name in ("in", "kept", "scores"))
    rows = [row | {"prompt": f"{number} {row['prompt']}"} for number in range(2) for row in demo_samples("fr", each=12)]
    write_rows(source, rows)
    done = run("filter", str(source), "-o", str(kept), "--scores", str(scores), "--url", stack.url, "--json",
               "--direction", direction, "--keep", "0.5", "--within", "length", "--batch-size", "5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    decisions = read_rows(scores)
    order = sorted(range(24), key=lambda i: len(rows[i]["chosen"]) / len(rows[i]["rejected"]))
    best = [sorted(half, key=lambda i: decisions[i]["conflict_score"])[:6] for half in (order[:12], order[12:])]
    assert read_rows(kept) == [rows[i] for i in sorted(best[0] + best[1])]
    assert set(json.loads(done.stdout)["length_spearman"]) == {"fr"}


def test_two_passes_score_every_row_against_all_of_them(
    stack: Stack, client: Client, direction: str, tmp_path: Path
) -> None:
    rows = demo_samples("de", "fr", "ja", each=4)
    source, scores = tmp_path / "in.jsonl", tmp_path / "scores.jsonl"
    write_rows(source, rows)
    before = client.queue().room.retained_bytes  # type: ignore[union-attr] # of other tests
    done = run("filter", str(source), "-o", str(tmp_path / "kept.jsonl"), "--scores", str(scores),
               "--url", stack.url, "--direction", direction, "--batch-size", "5", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["direction"]["languages"].values()) == 12
    assert re.search(r"two passes: up to [\d.]+ MiB of Redis, [\d.]+ KiB a row, until the rows are scored", done.stderr)
    assert client.queue().room.retained_bytes <= before  # type: ignore[union-attr] # all that was kept has gone
    # One request is scored against all of its rows as well, whatever their order.
    at_once = client.filter(rows, direction=f"{direction}-at-once", batch_size=12)
    expected = np.array([decision.conflict_score for decision in at_once.decisions], dtype=float)
    found = np.array([row["conflict_score"] for row in read_rows(scores)], dtype=float)
    assert np.allclose(found, expected, atol=1e-4)


def started(arguments: list[str], journal: Path) -> subprocess.Popen[bytes]:
    """The command, once it has two answers on the disk, behind two lines on the run, and so has counted the first."""
    process = subprocess.Popen([*CONGRAD, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)  # nothing tells when a file grows
    return process


@pytest.mark.parametrize(
    ("end", "options"),
    [
        (signal.SIGKILL, []),
        (signal.SIGTERM, ["--one-pass"]),
        pytest.param(signal.SIGKILL, ["--one-pass"], marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, [], marks=pytest.mark.slow),  # the test of a stack of its own interrupts one too
    ],
)
def test_a_run_that_was_cut_short_goes_on_and_folds_nothing_in_twice(
    end: signal.Signals, options: list[str], stack: Stack, client: Client, direction: str, tmp_path: Path
) -> None:
    source, kept, dropped = (tmp_path / f"{name}.jsonl" for name in ("in", "kept", "dropped"))
    lines = write_rows(source, demo_samples(each=3))
    arguments = ["filter", str(source), "-o", str(kept), "--dropped", str(dropped), "--url", stack.url,
                 "--direction", direction, "--batch-size", "3", "--concurrency", "3", *options]  # fmt: skip
    journal = tmp_path / "kept.jsonl.congrad"
    process = started(arguments, journal)
    process.send_signal(end)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (-end if end is signal.SIGKILL else 130), said
    assert not kept.exists()
    if end is not signal.SIGKILL:
        assert b"the same command goes on from there" in said
        assert b"Traceback" not in said
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    resumed = re.search(r"resuming: (\d+) of 36 rows have decisions", done.stderr)
    assert resumed is not None
    assert 0 < int(resumed[1]) < 36
    assert len(read_rows(kept)) + len(read_rows(dropped)) == len(lines)
    counts = {tag: language.samples for tag, language in client.directions.get(direction).languages.items()}
    assert counts == {row["language"]: 3 for row in demo_samples(each=1)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dropped.jsonl", "in.jsonl", "kept.jsonl"]


@contextmanager
def interrupted(stack: Stack, client: Client, direction: str, source: Path, kept: Path) -> Iterator[Journal]:
    """Eight rows in ``source`` whose first pass is made, and the journal of it, which stays: a user interrupts then."""
    write_rows(source, demo_samples("de", "fr", each=4))
    asked = Asked(direction, update=True, selection=wire.ThresholdSelection(), checkpoint=None, batch_size=4,
                  two_pass=True)  # fmt: skip
    with (
        Source(str(source)) as rows,
        suppress(KeyboardInterrupt),
        open_journal(journal_of(str(kept)), asked.on_record(stack.url), False) as journal,
    ):
        Run(rows, Fields(), asked, survey(rows, Fields())).ask(client, journal, 1, Passes(8, 2))
        yield journal
        raise KeyboardInterrupt


def test_rows_whose_gradients_are_gone_are_scored_without_folding_them_in_again(
    stack: Stack, client: Client, direction: str, tmp_path: Path
) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    with interrupted(stack, client, direction, source, kept) as journal:
        for result in journal.results:
            client.jobs.rescore(result.job_id)  # the gradients are dropped then
    arguments = ("filter", str(source), "-o", str(kept), "--url", stack.url, "--direction", direction,
                 "--batch-size", "4")  # fmt: skip
    gone = run(*arguments)
    assert gone.returncode == 1
    assert "are no longer kept" in gone.stderr
    assert f"all 8 rows are in direction {direction!r}" in gone.stderr
    assert "the same command goes on" not in gone.stderr
    done = run(*arguments, "--no-update", "--restart")
    assert done.returncode == 0, done.stderr
    assert kept.exists()
    counts = {tag: language.samples for tag, language in client.directions.get(direction).languages.items()}
    assert counts == {"de": 4, "fr": 4}


def test_a_run_that_is_begun_anew_frees_the_gradients_of_the_one_before(
    stack: Stack, client: Client, direction: str, tmp_path: Path
) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    with interrupted(stack, client, direction, source, kept) as journal:
        pass
    done = run("filter", str(source), "-o", str(kept), "--url", stack.url, "--direction", direction, "--restart")
    assert done.returncode == 0, done.stderr
    for result in journal.results:
        with pytest.raises(ConflictError, match="no longer"):
            client.jobs.rescore(result.job_id)


def test_an_unfinished_run_goes_on_with_its_own_rows_alone_wherever_they_stand(
    stack: Stack, client: Client, direction: str, tmp_path: Path
) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    with interrupted(stack, client, direction, source, kept):
        pass
    arguments = ["filter", str(source), "-o", str(kept), "--url", stack.url, "--direction", direction,
                 "--batch-size", "4"]  # fmt: skip
    other = run(*arguments, "--no-update")
    assert other.returncode == 2
    assert "with other options" in other.stderr
    others = tmp_path / "others.jsonl"
    write_rows(others, demo_samples("ja", each=2))
    changed = run("filter", str(others), *arguments[2:])
    assert changed.returncode == 2
    assert "has none of the rows that an unfinished run has answers for" in changed.stderr
    rows = demo_samples("de", "fr", each=4)
    write_rows(source, [*rows[:6], without_prompt(rows[6]), rows[7]])
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "in.jsonl, line 7: chosen and rejected begin with different messages" in refused.stderr
    assert "nothing was sent" in refused.stderr
    assert not kept.exists()
    write_rows(source, [*rows[:6], rows[7], rows[6]])  # in another order
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "resuming: 8 of 8" in done.stderr
    counts = {tag: language.samples for tag, language in client.directions.get(direction).languages.items()}
    assert counts == {"de": 4, "fr": 4}


def test_a_direction_that_is_not_there_is_no_direction_to_score_against(
    stack: Stack, direction: str, tmp_path: Path
) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    write_rows(source, demo_samples("de", each=2))
    done = run("filter", str(source), "-o", str(kept), "--url", stack.url, "--direction", direction, "--no-update")
    assert done.returncode == 2
    assert f"there is no direction {direction!r} to score against" in done.stderr
    assert not kept.exists()


def test_a_service_that_is_not_there_fails_without_a_trace(tmp_path: Path) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    write_rows(source, demo_samples("de", each=2))
    dead = run("filter", str(source), "-o", str(kept), "--url", f"http://127.0.0.1:{free_port()}", "--timeout", "2")
    assert dead.returncode == 1
    assert "cannot be reached" in dead.stderr
    assert "nothing was written" in dead.stderr
    assert "Traceback" not in dead.stderr
    assert not kept.exists()
