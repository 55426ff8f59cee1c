"""How a run ends that does not come to its end."""

import json
from pathlib import Path

import pytest
import typer
from congrad.commands.filtering.asking import Asked, GradientsGoneError, Run
from congrad.commands.filtering.journal import Journal
from congrad.commands.filtering.selection import selection_of
from congrad.commands.filtering.telling.endings import without_answers
from congrad.contract import wire
from congrad.errors import ConflictError, UnprocessableError
from congrad.files.samples import Fields, survey
from congrad.files.source import Source
from support.stub_service import sample

ASKED = Asked("default", True, selection_of(None, None, None, None), None, 2, True)
INTERRUPTED = "congrad: interrupted; nothing was written\n"
GOES_ON = (
    "what was under way goes on at the service: the same command takes up the answers, which kept.congrad is for\n"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(sample(0)) + "\n")
    with Source(str(path), fields=Fields().by_column) as source:
        return Run(source, Fields(), ASKED, survey(source, Fields()))


@pytest.mark.parametrize(
    ("was_sent", "ends_with_run", "words"),
    [(False, False, INTERRUPTED), (True, True, INTERRUPTED), (True, False, INTERRUPTED + GOES_ON)],
)
def test_an_interrupt_says_what_becomes_of_what_was_sent(
    was_sent: bool, ends_with_run: bool, words: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal({})
    journal.is_of_use = was_sent
    with pytest.raises(typer.Exit), without_answers(run, journal, Path("kept.congrad"), ends_with_run=ends_with_run):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == words


@pytest.mark.parametrize("pointer", ["/samples/0", "/checkpoint"])
def test_rows_are_only_spoken_of_where_one_is_at_fault(
    pointer: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = wire.ProblemError(pointer=pointer, detail="is wrong")
    problem = wire.Problem(title="Unprocessable", status=422, detail="is wrong", errors=[fault])
    with pytest.raises(typer.Exit), without_answers(run, Journal({}), None):
        raise UnprocessableError(problem)
    assert ("take it out first" in capsys.readouterr().err) == (pointer == "/samples/0")


@pytest.mark.parametrize(
    ("has_rows", "words"),
    [
        (True, "all 1 rows are in direction 'default': the same command with --no-update --restart"),
        (False, "Redis has lost data; the same command with --restart begins anew"),
    ],
)
def test_only_rows_that_a_direction_has_are_scored_against_it_without_folding_in(
    has_rows: bool, words: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit), without_answers(run, Journal({}), None):
        raise GradientsGoneError("there is no job", has_rows)
    assert words in capsys.readouterr().err


def test_what_is_there_has_to_change_before_a_run_that_it_conflicts_with_goes_on(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "answered", lambda *_: 1)
    problem = wire.Problem(title="Conflict", status=409, detail="the direction is of another checkpoint", errors=[])
    with pytest.raises(typer.Exit), without_answers(run, Journal({}), Path("kept.congrad")):
        raise ConflictError(problem)
    said = capsys.readouterr().err
    assert "kept in kept.congrad: once that is no more so, the same command goes on from there" in said
