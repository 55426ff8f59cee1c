"""A run that was cut short, and what it finds when it is begun again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from congrad import Client
from congrad.commands.filtering import stack
from congrad.commands.filtering.asking import Asked, GradientsGoneError, Run
from congrad.commands.filtering.journal import Journal, open_journal
from congrad.commands.filtering.selection import selection_of
from congrad.contract import wire
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields, survey
from congrad.files.source import Source
from congrad.local.stack import StackOptions
from congrad.showing.passes import Passes
from support.stub_service import StubService, problem, sample


def answer() -> wire.FilterResult:
    """An answer to one row."""
    row = wire.Decision(
        id="0", language="de", keep=True, conflict_score=0.0, conflicts_with=[], truncated=False, reason=None
    )
    return wire.FilterResult(
        job_id="job",
        direction=wire.DirectionRef(name="default", version=1, checkpoint="c", languages={"de": 1}),
        decisions=[row],
        summary=wire.Summary(kept=1, dropped=0, by_language={}),
        timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
    )


def test_rows_that_were_added_since_it_began_to_score_are_refused(tmp_path: Path) -> None:
    path, asked = tmp_path / "pairs.jsonl", Asked("default", True, selection_of(None, None, None, None), None, 2, True)
    refused = {"/jobs/job1/rescore"}

    def early(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(401) if request.url.path in refused else None

    transport = httpx.MockTransport(StubService(before=early))

    def run(rows: int) -> None:
        path.write_text("".join(json.dumps(sample(number)) + "\n" for number in range(rows)), encoding="utf-8")
        with (
            Source(str(path), fields=Fields().by_column) as source,
            open_journal(tmp_path / "journal", {}, restart=False) as journal,
            Client("http://stub", transport=transport, max_retries=0) as client,
        ):
            one, advance = Run(source, Fields(), asked, survey(source, Fields())), Passes(rows, 2)
            one.check(journal)
            one.ask(client, journal, 1, advance)
            one.ask_again(client, journal, 1, advance)

    with pytest.raises(Exception, match="401"):
        run(4)
    refused.clear()
    with pytest.raises(FileError, match="rows that were added after an unfinished run had begun to score"):
        run(8)
    run(4)


def standing(samples: int) -> httpx.Response:
    """A direction of so many samples of one language."""
    language = {"samples": samples, "weight": samples, "norm": 1.0}
    fields = {
        "name": "default", "version": 1, "checkpoint": "c", "fingerprint": "f", "created": 0, "updated": 0,
        "half_life": None, "aggregator": {"name": "pcgrad"}, "norm": 1.0, "languages": {"de": language},
        "cosines_before": [[1.0]], "cosines_after": [[1.0]],
    }  # fmt: skip
    return httpx.Response(200, json=fields)


@pytest.mark.parametrize(("samples", "has_rows"), [(4, True), (3, False), (None, False)])
def test_gradients_that_are_gone_are_told_apart_from_rows_that_are(
    samples: int | None, has_rows: bool, tmp_path: Path
) -> None:
    """A Redis that was lost in the middle of a run has a direction again, of what was folded in after that."""
    path, asked = tmp_path / "pairs.jsonl", Asked("default", True, selection_of(None, None, None, None), None, 2, True)
    path.write_text("".join(json.dumps(sample(number)) + "\n" for number in range(4)), encoding="utf-8")

    def early(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/directions/default" and samples is not None:
            return standing(samples)
        return problem(404) if request.url.path == "/jobs/job1/rescore" else None

    with (
        Source(str(path), fields=Fields().by_column) as source,
        Client("http://stub", transport=httpx.MockTransport(StubService(before=early)), max_retries=0) as client,
    ):
        one, journal = Run(source, Fields(), asked, survey(source, Fields())), Journal({})
        one.ask(client, journal, 1, Passes(4, 2))
        with pytest.raises(GradientsGoneError) as gone:
            one.ask_again(client, journal, 1, Passes(4, 2))
    assert gone.value.has_rows == has_rows


def test_the_data_of_a_stack_outlive_only_a_run_that_has_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    @contextmanager
    def running(options: StackOptions) -> Iterator[str]:
        found.append(options.data_dir.exists())
        options.data_dir.mkdir(exist_ok=True)
        yield "a stack"

    monkeypatch.setattr(stack, "running_stack", running)
    monkeypatch.setattr(stack, "interrupt_on_signals", lambda: None)
    path = tmp_path / "kept.jsonl.congrad"
    for answers in (0, 0, 1, 0):
        with (
            suppress(KeyboardInterrupt),
            open_journal(path, {}, restart=False) as journal,
            stack.own_stack({"CONGRAD_MODEL": "m"}, path, journal),
        ):
            journal.sends()
            for _ in range(answers):
                journal.add(answer(), ["digest"])
            raise KeyboardInterrupt
        assert path.exists() == path.with_name(f"{path.name}.d").exists() == bool(journal.rows)
    assert found == [False, False, False, True]
