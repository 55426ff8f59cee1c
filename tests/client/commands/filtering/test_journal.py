"""What an unfinished run leaves behind, and what the next one makes of it."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad import AuthenticationError, Client, UnprocessableError
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.journal import Journal, journal_of, open_journal
from congrad.contract import wire
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields, survey
from congrad.files.source import Source
from congrad.showing.passes import Passes
from support.stub_service import StubService, problem, sample

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
        journal.sends()
        for number in range(answers):
            journal.add(answer(number), [f"digest-{number}"])
    return journal


def test_a_run_goes_on_with_what_the_last_one_left(tmp_path: Path) -> None:
    path = journal_of(str(tmp_path / "kept.jsonl"))
    first = left_behind(path)
    with cut_short(path) as second:
        assert (second.key, second.rows) == (first.key, 2)
        assert second.answered == {"digest-0": 1, "digest-1": 1}
        assert second.results == first.results
        second.add_rescored("job-0", answer(5))
    with open_journal(path, ASKED, restart=False) as third:
        assert {name: result.job_id for name, result in third.rescored.items()} == {"job-0": "job-5"}
        assert third.rows == 2
    assert not path.exists()


def test_a_run_that_has_sent_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with cut_short(path):
        assert path.exists()
    assert not path.exists()
    left_behind(path, answers=0)  # its requests may be answered yet
    with cut_short(path):
        pass
    assert path.exists()


def test_half_a_line_is_no_answer_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    left_behind(path)
    text = path.read_bytes()
    path.write_bytes(text[:-10])
    with cut_short(path) as journal:
        assert journal.answered == {"digest-0": 1}
        journal.add(answer(7), ["digest-7"])
    with open_journal(path, ASKED, restart=False) as journal:
        assert [result.job_id for result in journal.results] == ["job-0", "job-7"]
    path.write_bytes(text[:30])  # not even the first line is whole
    with open_journal(path, ASKED, restart=False) as journal:
        assert journal.rows == 0


def test_answers_to_another_question_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = left_behind(path)
    with (
        pytest.raises(FileError, match=r"with other options .*\(--direction: default\)"),
        open_journal(path, OTHER, restart=False),
    ):
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


def test_a_journal_of_another_release_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('{"congrad_journal": 1, "key": "k", "asked": {}}\n{"result": {"job_id": "j"}, "start": 0}\n')
    with pytest.raises(FileError, match="unfinished run of another release"), open_journal(path, {}, restart=False):
        pass
    with open_journal(path, {}, restart=True) as journal:
        assert journal.rows == 0


def test_an_answer_counts_once_it_is_in_the_file_even_if_an_interrupt_comes_before_the_disk_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with cut_short(path) as journal:
        journal.add(answer(0), ["digest-0"])
        monkeypatch.setattr("os.fsync", interrupt)
        journal.add(answer(1), ["digest-1"])
    assert journal.rows == 2
    monkeypatch.undo()
    with open_journal(path, ASKED, restart=False) as again:
        assert again.rows == 2


def test_a_run_that_is_begun_anew_knows_which_gradients_the_service_still_keeps(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    asked = ASKED | {"url": "http://here"}
    for there, left in ((asked, ["job-0", "job-2"]), (asked | {"url": "http://there"}, [])):
        with cut_short(path, asked=asked) as journal:
            for number in range(3):
                journal.add(answer(number), [f"digest-{number}"])
            journal.add_rescored("job-1", answer(5))
        with open_journal(path, there, restart=True) as anew:
            assert anew.abandoned == left


def test_an_answer_is_on_the_disk_before_the_next_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with cut_short(path) as journal:
        for number in range(3):
            journal.add(answer(number), [f"digest-{number}"])
            last = json.loads(path.read_bytes().splitlines()[-1])
            assert (last["digests"], last["result"]["job_id"]) == ([f"digest-{number}"], f"job-{number}")


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    too_deep = '{"congrad_journal": 2, "key": ' + "[" * 100_000 + "\n"
    for text in ("mine", "mine\n", '{"congrad_journal": 2}\n', too_deep):
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


def test_a_row_has_its_answer_wherever_it_stands_by_then() -> None:
    journal = Journal(ASKED)
    for number, digest in enumerate(["a", "b", "a"]):
        journal.add(answer(number), [digest])
    samples = [("line 9", "a"), ("line 10", "b"), ("line 11", "a")]
    decisions = journal.decisions(samples, rescored=False)
    assert [decision.id for decision in decisions] == ["line 9", "line 10", "line 11"]
    assert journal.decisions(samples[1:2], rescored=False) == decisions[1:2]


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
        found = survey(rows, Fields())
        Run(rows, Fields(), asked_for(half), found).ask(client, journal, concurrency=1, advance=Passes(6))
        assert [body.get("selection") for body in stub.bodies] == [None, None]
        for selection, kept in ((half, [1, 1, 1, 0, 0, 0]), (third, [0, 1, 1, 0, 0, 0])):
            assert asked_for(selection).on_record("u") == asked_for(half).on_record("u")
            decisions = Run(rows, Fields(), asked_for(selection), found).decisions(journal)
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

    def interrupt() -> None:
        if passes.done:
            raise KeyboardInterrupt

    asked = asked_for(wire.ThresholdSelection())
    path = tmp_path / "journal"
    with Source(str(source)) as rows, Client("http://stub", transport=httpx.MockTransport(serve)) as client:
        run = Run(rows, Fields(), asked, survey(rows, Fields()))
        with suppress(KeyboardInterrupt), open_journal(path, asked.on_record("http://stub"), False) as journal:
            passes = Passes(11, changed=interrupt)
            run.ask(client, journal, concurrency=2, advance=passes)
        with open_journal(path, asked.on_record("http://stub"), False) as journal:
            assert journal.rows == rows_in_a_request
            run.ask(client, journal, concurrency=2, advance=Passes(11))
            assert [decision.id for decision in run.decisions(journal)] == [f"line {n}" for n in range(1, 12)]
    assert stub.folded == {f"line {n}": 1 for n in range(1, 12)}


def run_of(rows: Source, two_pass: bool = False, batch_size: int = 4) -> Run:
    asked = Asked("default", True, wire.ThresholdSelection(), None, batch_size, two_pass)
    return Run(rows, Fields(), asked, survey(rows, Fields()))


def answered(path: Path, journal_path: Path, transport: httpx.MockTransport, **options: Any) -> list[wire.Decision]:
    """The decisions on a file, by a run that goes on with what the last one left."""
    with Source(str(path)) as rows, Client("http://stub", transport=transport, max_downtime=0) as client:
        run = run_of(rows, **options)
        with open_journal(journal_path, {}, restart=False) as journal:
            run.check(journal)
            passes = Passes(len(run.found.samples), 2)
            run.ask(client, journal, 3, passes)
            if run.asked.two_pass:
                run.ask_again(client, journal, 3, passes)
            return run.decisions(journal)


def write(path: Path, numbers: list[int]) -> Path:
    path.write_text("".join(json.dumps(sample(number)) + "\n" for number in numbers))
    return path


def test_a_run_that_fails_keeps_the_answers_that_were_under_way(tmp_path: Path) -> None:
    """The second of three requests fails at once, and the others are answered after that."""
    path, journal = write(tmp_path / "in.jsonl", list(range(1, 13))), tmp_path / "journal"
    stub, has_failed = StubService(), threading.Event()

    def serve(request: httpx.Request) -> httpx.Response:
        if b'"line 5"' in request.content and not has_failed.is_set():
            has_failed.set()
            return problem(401)
        assert has_failed.wait(30)
        return stub(request)

    with pytest.raises(AuthenticationError):
        answered(path, journal, httpx.MockTransport(serve))
    with suppress(KeyboardInterrupt), open_journal(journal, {}, restart=False) as left:
        assert {decision.id for result in left.results for decision in result.decisions} == {
            f"line {number}" for number in (1, 2, 3, 4, 9, 10, 11, 12)
        }
        raise KeyboardInterrupt
    decisions = answered(path, journal, httpx.MockTransport(serve))
    assert [decision.id for decision in decisions] == [f"line {number}" for number in range(1, 13)]
    assert [decision.conflict_score for decision in decisions] == [number / 1000 for number in range(1, 13)]
    assert set(stub.folded.values()) == {1}


def sent_to(stub: StubService) -> Counter[str]:
    """How often each sample was acted on."""
    return Counter(one["chosen"] for body in stub.bodies for one in body["samples"])


@pytest.mark.parametrize("two_pass", [False, True])
def test_a_row_that_was_mended_is_the_only_one_that_is_sent_anew(two_pass: bool, tmp_path: Path) -> None:
    path, journal = write(tmp_path / "in.jsonl", [*range(1, 7), 99, *range(8, 13)]), tmp_path / "journal"
    stub = StubService()

    def serve(request: httpx.Request) -> httpx.Response:
        found = json.loads(request.content or "{}").get("samples", [])
        at_fault = [i for i, one in enumerate(found) if one["chosen"] == "99"]
        if at_fault:
            pointers = [wire.ProblemError(pointer=f"/samples/{i}", detail="is too much") for i in at_fault]
            return problem(422, "is too much", errors=pointers)
        return stub(request)

    with pytest.raises(UnprocessableError, match="is too much"):
        answered(path, journal, httpx.MockTransport(serve), two_pass=two_pass)
    assert {"5", "6", "8"} <= sent_to(stub).keys(), "what is beside it in its request"
    write(path, [*range(1, 4), *range(5, 13)])  # and another row has gone
    decisions = answered(path, journal, httpx.MockTransport(serve), two_pass=two_pass)
    assert sent_to(stub) == {str(number): 1 for number in range(1, 13)}
    assert [decision.id for decision in decisions] == [f"line {number}" for number in range(1, 12)]
    shift = 1 if two_pass else 0
    assert [round(1000 * ((decision.conflict_score or 0) + shift)) for decision in decisions] == [
        *range(1, 4),
        *range(5, 13),
    ]


def test_a_file_of_other_rows_is_no_continuation(tmp_path: Path) -> None:
    path, journal = write(tmp_path / "in.jsonl", [1, 2]), tmp_path / "journal"
    left_behind(journal, asked={})
    with pytest.raises(FileError, match="has none of the rows that an unfinished run has answers for"):
        answered(path, journal, httpx.MockTransport(StubService()))
