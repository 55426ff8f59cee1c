"""Rows of one completion each need another loss than pairs do."""

from collections import Counter
from typing import Any

import httpx
import pytest
import typer
from congrad import Client
from congrad.commands.filtering.losses import about_loss, check_loss, served_with
from congrad.files.samples import Survey

PAIRS, LABELLED, PLAIN = Survey(), Survey(completions=3, labelled=3), Survey(completions=2)
MIXED = Survey(completions=3, labelled=1)
MODEL = {"CONGRAD_MODEL": "m"}

CHECKPOINT: dict[str, Any] = {
    "beta": 0.1, "reference": "policy", "target_modules": None, "modules": 1, "coverage": 1.0, "shared_prompts": True,
    "projection": {"kind": "exact", "rank": None, "dim": 1, "seed": 0},
    "max_length": 8, "dtype": "float32", "devices": ["cpu"], "workers": 1,
}  # fmt: skip


def serving(*losses: str) -> Client:
    """A client of a service with a checkpoint of each loss."""
    served = [CHECKPOINT | {"name": f"of-{loss}", "fingerprint": loss, "loss": loss} for loss in losses]
    return Client("http://stub", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=served)))


def test_a_stack_of_the_runs_own_is_served_with_the_loss_that_the_rows_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONGRAD_LOSS", raising=False)
    assert served_with(MODEL, PAIRS) == MODEL
    assert served_with(MODEL, LABELLED) == MODEL | {"CONGRAD_LOSS": "kto"}
    assert served_with(MODEL, PLAIN) == MODEL | {"CONGRAD_LOSS": "sft"}
    assert about_loss(PAIRS, is_own_stack=True) is None
    assert about_loss(LABELLED, is_own_stack=True) == (
        "completions with a label: the stack is served with CONGRAD_LOSS=kto"
    )
    assert "CONGRAD_LOSS=sft congrad up --model PATH" in str(about_loss(PLAIN, is_own_stack=False))


def test_a_loss_that_is_set_stays_or_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONGRAD_LOSS", "apo_zero_unpaired")
    assert served_with(MODEL, LABELLED)["CONGRAD_LOSS"] == "apo_zero_unpaired"
    for found, loss, words in ((LABELLED, "sigmoid", "compares two completions"), (MIXED, "kto", "without a label")):
        monkeypatch.setenv("CONGRAD_LOSS", loss)
        with pytest.raises(typer.Exit):
            served_with(MODEL, found)
        assert words in capsys.readouterr().err


def test_pairs_and_a_stray_completion_are_not_judged_by_a_loss_for_completions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would look at the chosen answers of the pairs alone."""
    monkeypatch.delenv("CONGRAD_LOSS", raising=False)
    both = Survey(languages=Counter(de=6), completions=1)
    for refuse in (lambda: served_with(MODEL, both), lambda: check_loss(serving("sigmoid"), None, both)):
        with pytest.raises(typer.Exit):
            refuse()
        assert "there are 5 pairs, and 1 rows with one completion" in " ".join(capsys.readouterr().err.split())
    check_loss(serving("sft"), None, both)  # that is what somebody wants
    assert served_with(MODEL, Survey(languages=Counter(de=6), completions=1, labelled=1))["CONGRAD_LOSS"] == "kto"


def test_completions_without_a_label_among_labelled_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has one of them among very many has to find it."""
    monkeypatch.delenv("CONGRAD_LOSS", raising=False)
    one = Survey(completions=9, labelled=8, first_plain="line 7")
    some = Survey(completions=9, labelled=6, first_plain="line 7")
    for found, named in ((one, "line 7 has a completion"), (some, "line 7, as 2 more rows, has a completion")):
        for refuse in (lambda: served_with(MODEL, found), lambda: check_loss(serving("kto"), None, found)):  # noqa: B023 # called at once
            with pytest.raises(typer.Exit):
                refuse()
            assert f"{named} without a label" in " ".join(capsys.readouterr().err.split())
        assert f"\nbut {named} without a label" in str(about_loss(found, is_own_stack=False))
    stray = Survey(languages=Counter(de=6), completions=1, first_plain="line 4")
    told = "5 pairs, and 1 rows with one completion, no rejected one and no label (line 4)"
    assert told in str(about_loss(stray, is_own_stack=False))


def test_a_service_with_another_loss_is_told_in_one_line_with_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    check_loss(serving("kto"), None, LABELLED)
    check_loss(serving("sigmoid"), None, PAIRS)
    check_loss(serving("sigmoid", "kto"), None, LABELLED)  # which is meant is for the service to say
    check_loss(serving(), None, LABELLED)
    with pytest.raises(typer.Exit):
        check_loss(serving("sigmoid", "kto"), "of-sigmoid", LABELLED)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the workers' loss is sigmoid" in said
    assert "CONGRAD_LOSS=kto congrad up --model PATH, or --model PATH here" in said
