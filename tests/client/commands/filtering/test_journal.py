"""What an unfinished run leaves behind, and what the next one makes of it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad import Client
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.journal import Chain, Journal, digest_of, journal_of, open_journal
from congrad.contract import wire
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields
from congrad.files.source import Source
from support.stub_service import StubService, sample

ASKED = {"direction": "default", "batch_size": 2}
OTHER = ASKED | {"direction": "x"}


def answer(number: int) -> wire.FilterResult:
    """An answer to one row."""
    decision = wire.Decision(
        id=f"line {number}",
        language="de",
        keep=True,
        conflict_score=-0.5,
        conflicts_with=[],
        truncated=False,
        reason=None,
    )
    return wire.FilterResult(
        job_id=f"job-{number}",
        direction=wire.DirectionRef(name="default", version=number, checkpoint="c", languages={"de": number}),
        decisions=[decision],
        summary=wire.Summary(kept=1, dropped=0, by_language={}),
        timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
    )


@contextmanager
def cut_short(path: Path, restart: bool = False, asked: Mapping[str, Any] = ASKED) -> Iterator[Journal]:
    """The journal of a run that is interrupted at the end of the block."""
    with suppress(KeyboardInterrupt), open_journal(path, asked, restart) as journal:
        yield journal
        raise KeyboardInterrupt


def left_behind(path: Path, answers: int = 2, asked: Mapping[str, Any] = ASKED) -> Journal:
    """The journal of a run that ended before its work did."""
    with cut_short(path, asked=asked) as journal:
        for number in range(answers):
            journal.add(answer(number), f"digest-{number}")
    return journal


def test_a_run_goes_on_with_what_the_last_one_left(tmp_path: Path) -> None:
    path = journal_of(str(tmp_path / "kept.jsonl"))
    first = left_behind(path)
    with cut_short(path) as second:
        assert (second.key, second.rows, second.digest) == (first.key, 2, "digest-1")
        assert second.results == first.results
        second.add_rescored(answer(0))
    with open_journal(path, ASKED, restart=False) as third:
        assert [result.job_id for result in third.rescored] == ["job-0"]
        assert third.rows == 2
    assert not path.exists()


def test_half_a_line_is_no_answer_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path)
    text = path.read_bytes()
    path.write_bytes(text[:-10])
    with cut_short(path) as journal:
        assert (journal.rows, journal.digest) == (1, "digest-0")
        journal.add(answer(7), "digest-7")
    with open_journal(path, ASKED, restart=False) as journal:
        assert [result.job_id for result in journal.results] == ["job-0", "job-7"]
    path.write_bytes(text[:30])  # not even the first line is whole
    with open_journal(path, ASKED, restart=False) as journal:
        assert journal.rows == 0


def test_answers_to_another_question_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = left_behind(path)
    with pytest.raises(FileError, match="with other options"), open_journal(path, OTHER, restart=False):
        pass
    with cut_short(path, restart=True) as journal:
        assert journal.rows == 0
        assert journal.key != first.key


def test_a_journal_without_answers_is_taken_over_by_another_question(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = left_behind(path, answers=0)
    second = left_behind(path, answers=0, asked=OTHER)  # a shorter one
    assert second.key != first.key
    assert left_behind(path, answers=2, asked=OTHER).key == second.key
    with open_journal(path, OTHER, restart=False) as last:
        assert (last.key, last.rows) == (second.key, 2)


def test_an_answer_is_on_the_disk_before_the_next_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with cut_short(path) as journal:
        for number in range(3):
            journal.add(answer(number), f"digest-{number}")
            last = json.loads(path.read_bytes().splitlines()[-1])
            assert (last["digest"], last["result"]["job_id"]) == (f"digest-{number}", f"job-{number}")


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    too_deep = '{"congrad_journal": 1, "key": ' + "[" * 100_000 + "\n"
    for text in ("mine", "mine\n", '{"congrad_journal": 1}\n', too_deep):
        path.write_text(text)
        with pytest.raises(FileError, match="is no journal of congrad"), open_journal(path, ASKED, restart=False):
            pass
        assert path.read_text() == text


def test_only_a_journal_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("mine\n")
    with pytest.raises(FileError, match="is no journal of congrad"), open_journal(path, ASKED, restart=True):
        pass
    assert path.read_text() == "mine\n"
    path.write_text("")
    with open_journal(path, ASKED, restart=True) as journal:
        assert journal.rows == 0


def test_a_link_and_where_it_leads_have_one_journal(tmp_path: Path) -> None:
    link, target = tmp_path / "link.jsonl", tmp_path / "folder" / "target.jsonl"
    target.parent.mkdir()
    link.symlink_to(target)
    assert journal_of(str(link)) == journal_of(str(target)) == target.with_name("target.jsonl.congrad")


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    code = (
        "import sys; from pathlib import Path; from congrad.commands.filtering.journal import open_journal\n"
        "with open_journal(Path(sys.argv[1]), {}, False): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FileError, match="another congrad filter is writing"), open_journal(path, {}, False):
            pass
        other.communicate()
    with open_journal(path, {}, restart=False) as journal:
        assert journal.rows == 0


def test_a_digest_is_of_all_samples_and_goes_on_from_any() -> None:
    samples = [{"id": str(number), "chosen": "ü"} for number in range(5)]
    first = digest_of(samples[:3])
    chain = Chain(first)
    assert [chain.add(sample) for sample in samples[3:]][-1] == digest_of(samples)
    assert digest_of([samples[1], samples[0], *samples[2:]]) != digest_of(samples)
    assert digest_of(json.loads(json.dumps(samples))) == digest_of(samples)


def asked_for(selection: wire.ThresholdSelection | wire.FractionSelection) -> Asked:
    return Asked("default", update=True, selection=selection, checkpoint=None, batch_size=4, two_pass=False)


def test_a_share_of_the_file_is_taken_when_all_is_answered_and_may_be_another_when_a_run_goes_on(
    tmp_path: Path,
) -> None:
    half, third = (wire.FractionSelection(kind="fraction", keep=share, within="request") for share in (0.5, 1 / 3))
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(sample(number)) + "\n" for number in (3, 1, 2, 6, 5, 4)))
    with (
        Source(str(source)) as rows,
        Client("http://stub", transport=httpx.MockTransport(stub := StubService())) as client,
        open_journal(tmp_path / "journal", asked_for(half).on_record("http://stub"), False) as journal,
    ):
        Run(rows, Fields(), asked_for(half)).ask(client, journal, concurrency=1, advance=lambda _: None)
        assert [body.get("selection") for body in stub.bodies] == [None, None]
        for selection, kept in ((half, [1, 1, 1, 0, 0, 0]), (third, [0, 1, 1, 0, 0, 0])):
            assert asked_for(selection).on_record("u") == asked_for(half).on_record("u")
            decisions = Run(rows, Fields(), asked_for(selection)).decisions(journal)
            assert [decision.keep for decision in decisions] == [bool(number) for number in kept]


def test_another_threshold_is_another_question() -> None:
    first, second = (wire.ThresholdSelection(max_conflict=bound) for bound in (0.0, 0.1))
    assert asked_for(first).on_record("u") != asked_for(second).on_record("u")


@pytest.mark.parametrize("rows_in_a_request", [1, 2, 3])
def test_requests_that_are_cut_by_their_bytes_are_the_same_ones_when_a_run_goes_on(
    rows_in_a_request: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request is acted on, and its answer never taken."""
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(sample(n) | {"prompt": "p" * 1000}) + "\n" for n in range(100, 111)))
    monkeypatch.setattr("congrad.protocol.requests.MAX_BYTES", 1100 * rows_in_a_request)
    stub = StubService()
    two_done = threading.Event()

    def serve(request: httpx.Request) -> httpx.Response:
        response = stub(request)
        if len(stub.requests) >= 2:
            two_done.set()
        assert two_done.wait(30)
        return response

    def interrupt(rows: int) -> None:
        if rows:
            raise KeyboardInterrupt

    asked = asked_for(wire.ThresholdSelection())
    path = tmp_path / "journal"
    with Source(str(source)) as rows, Client("http://stub", transport=httpx.MockTransport(serve)) as client:
        run = Run(rows, Fields(), asked)
        with suppress(KeyboardInterrupt), open_journal(path, asked.on_record("http://stub"), False) as journal:
            run.ask(client, journal, concurrency=2, advance=interrupt)
        with open_journal(path, asked.on_record("http://stub"), False) as journal:
            assert journal.rows == rows_in_a_request
            run.ask(client, journal, concurrency=2, advance=lambda _: None)
            assert [decision.id for decision in run.decisions(journal)] == [f"line {n}" for n in range(1, 12)]
    assert stub.folded == {f"line {n}": 1 for n in range(1, 12)}
