"""What a report says of decisions, and that no text can be more than a text in it."""

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from congrad.client import Client
from congrad.commands.app import app
from congrad.commands.filtering.asking import Asked, Run
from congrad.commands.filtering.journal import Journal
from congrad.commands.filtering.telling.reporting import about_run
from congrad.contract import wire
from congrad.files.decisions import read_decisions, samples_of
from congrad.files.kinds.rows import FileError
from congrad.files.samples import Fields, Survey
from congrad.files.source import Source
from congrad.formats import Verdict, recognised
from congrad.local.redis_server import free_port
from congrad.report.about import About
from congrad.report.content import Report
from congrad.report.statistics import EDGES, conflicts, distributions, most_telling, threshold_of
from congrad.report.texts import LIMIT, texts_of
from typer.testing import CliRunner, Result

HOSTILE = "</script><script>document.title = 'hostile'</script><!-- <img src=x onerror=alert(1)> \u2028 &lt; ]]>"


def decision(
    score: float | None, tag: str = "de", *, keep: bool | None = None, against: tuple[str, ...] = (), name: str = "x"
) -> wire.Decision:
    is_kept = (score is not None and score <= 0) if keep is None else keep
    reason = wire.Reason.ZERO_GRADIENT if score is None else None
    return wire.Decision(name, tag, is_kept, score, list(against), truncated=False, reason=reason)


class Page(HTMLParser):
    """The elements of a page, the text of each script with its attributes, and where the page leads."""

    def __init__(self, page: bytes):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.addresses: list[str] = []
        self.policy = ""
        self._is_script = False
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags[tag] += 1
        self._is_script = tag == "script"
        if self._is_script:
            self.scripts.append((attributes, ""))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._is_script = self._is_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._is_script:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)

    def block(self, name: str) -> str:
        """The text of the data block of a name."""
        return next(text for attributes, text in self.scripts if attributes.get("id") == name)

    @property
    def summary(self) -> dict[str, Any]:
        """What the page says of all pairs."""
        content: dict[str, Any] = json.loads(self.block("summary"))
        return content

    @property
    def pairs(self) -> list[list[Any]]:
        """What the page shows one by one."""
        rows: list[list[Any]] = json.loads(gzip.decompress(base64.b64decode(self.block("pairs"))))
        return rows


def page_of(
    decisions: list[wire.Decision], samples: list[dict[str, Any]], about: About | None = None, **options: int
) -> Page:
    report = Report(about or About("pairs.jsonl"), decisions, **options)
    for position, sample in enumerate(samples):
        report.add(position, sample)
    stream = BytesIO()
    report.write(stream)
    return Page(stream.getvalue())


def test_bins_up_to_a_threshold_hold_what_it_keeps() -> None:
    scores = [-1.0, 1.0, *EDGES, *np.random.default_rng(0).uniform(-1, 1, 500).tolist()]
    drawn = distributions([decision(score) for score in scores]).languages["de"]
    assert drawn.count == len(scores)
    assert drawn.mean == pytest.approx(sum(scores) / len(scores))
    for number, edge in enumerate(EDGES[1:], start=1):
        assert sum(drawn.histogram[:number]) == sum(score <= edge for score in scores)


def test_a_threshold_as_a_user_types_it_is_an_edge() -> None:
    assert [f"{edge:.2f}" for edge in EDGES[:3]] == ["-1.00", "-0.99", "-0.98"]
    assert {0.29, 0.57, -0.07, 0.0} <= set(EDGES)


def test_conflicts_are_those_of_dropped_pairs_with_a_score() -> None:
    decisions = [
        decision(0.2, "de", against=("fr", "ja")),
        decision(0.1, "de", against=("fr",)),
        decision(-0.1, "de", against=("it",)),
        decision(None, "de", against=("it",)),
        decision(-0.1, "fr"),
    ]
    assert conflicts(decisions).model_dump() == {
        "languages": {
            "de": {"dropped": 2, "conflicts_with": {"fr": 2, "ja": 1}},
            "fr": {"dropped": 0, "conflicts_with": {}},
        }
    }


def test_of_too_many_pairs_the_ends_of_each_language_are_shown() -> None:
    decisions = [decision(score / 10, tag) for tag in ("de", "fr") for score in (0, 3, -4, 1, 4)] + [decision(None)]
    assert most_telling(decisions, 5) == [2, 4, 7, 9, 10]
    assert most_telling(decisions, 100) == list(range(11))


@pytest.mark.parametrize(
    ("kept", "dropped", "threshold"),
    [
        ([-0.2, 0.0], [0.1], 0.0),
        ([-0.2, 0.05], [0.1], 0.05),
        ([-0.2], [-0.1], -0.2),
        ([-0.2, 0.1], [0.05], None),
        ([-0.2], [], 0.0),
        ([], [0.1], 0.0),
    ],
)
def test_a_threshold_is_found_where_one_explains_the_decisions(
    kept: list[float], dropped: list[float], threshold: float | None
) -> None:
    decisions = [decision(score, keep=keep) for scores, keep in ((kept, True), (dropped, False)) for score in scores]
    assert threshold_of([*decisions, decision(None, keep=True)]) == threshold


def test_texts_are_those_of_the_sample() -> None:
    assert texts_of({"prompt": "p", "chosen": "a", "rejected": "b"}) == ["p", "a", "b"]
    assert texts_of({"chosen": "p a", "rejected": "p b"}) == [None, "p a", "p b"]
    assert texts_of({"prompt": "p", "completion": "c"}) == ["p", "c"]
    both_kinds = {"prompt": "p", "chosen": "a", "rejected": "b", "completion": None}
    assert texts_of(both_kinds) == ["p", "a", "b"], "a table of both kinds of rows has all columns"


def test_turns_that_two_conversations_share_are_their_prompt() -> None:
    asked = {"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "far?"}]}
    near, far = ({"role": "assistant", "content": text} for text in ("near", "far"))
    shown = texts_of({"chosen": [asked, near], "rejected": [asked, far]})
    assert shown == [[["user", "How far?"]], [["assistant", "near"]], [["assistant", "far"]]]


def test_what_an_assistant_thinks_and_calls_is_shown() -> None:
    turn = {"role": "assistant", "content": None, "thinking": "hm", "tool_calls": [{"name": "größer"}]}
    (_, chosen, _) = texts_of({"prompt": [], "chosen": [turn], "rejected": []})
    assert chosen == [["assistant, thinking", "hm"], ["assistant, calling", '[{"name": "größer"}]']]


def test_a_long_text_is_cut_and_says_so() -> None:
    (prompt, *_) = texts_of({"prompt": "a" * (LIMIT + 1234), "chosen": "b" * LIMIT, "rejected": "c"})
    assert prompt == "a" * LIMIT + " … (1,234 more characters)"


def test_a_hostile_text_is_no_markup() -> None:
    sample = {"prompt": [{"role": HOSTILE, "content": HOSTILE}], "chosen": [], "rejected": []}
    tame = page_of([decision(0.1, name="x")], [{"prompt": "p", "chosen": "c", "rejected": "r"}])
    hostile = page_of(
        [decision(0.1, HOSTILE, name=HOSTILE, against=(HOSTILE,))], [sample], About(HOSTILE, command=HOSTILE)
    )
    assert hostile.tags == tame.tags
    assert hostile.summary["source"] == HOSTILE
    assert list(hostile.summary["scores"]["languages"]) == [HOSTILE]
    (pair,) = hostile.pairs
    assert pair[0] == HOSTILE
    assert pair[8][0] == [[HOSTILE, HOSTILE]]


def test_half_a_surrogate_pair_breaks_nothing() -> None:
    page = page_of(
        [decision(0.1, name="\ud83d")], [{"prompt": "\ud83d", "chosen": "a", "rejected": "b"}], About("\ud83d")
    )
    assert page.pairs[0][8][0] == "\ud83d"


def test_only_the_scripts_of_the_page_may_run_and_none_may_reach_a_network() -> None:
    page = page_of([decision(0.1)], [])
    run = [text for attributes, text in page.scripts if attributes.get("type") in (None, "module")]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run}
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert set(re.findall(r"'sha256-([^']+)'", rules["script-src"])) == digests
    assert "unsafe" not in page.policy
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    assert rules["font-src"] == "data:"
    assert all(address.startswith("#") for address in page.addresses)


def test_a_report_of_many_pairs_shows_some_and_counts_all() -> None:
    decisions = [decision(score / 1000, name=str(score)) for score in range(-500, 500)]
    page = page_of(decisions, [{"prompt": "p", "chosen": "a", "rejected": "b"}] * 1000, limit=10)
    assert (page.summary["summary"]["kept"], page.summary["summary"]["dropped"], page.summary["shown"]) == (
        501,
        499,
        10,
    )
    assert [row[0] for row in page.pairs] == [str(s) for s in (*range(-500, -495), *range(495, 500))]
    assert all(row[8] == ["p", "a", "b"] for row in page.pairs)


def test_a_report_carries_the_licences_of_its_libraries() -> None:
    stream = BytesIO()
    Report(About("pairs.jsonl"), [decision(0.1)]).write(stream)
    text = stream.getvalue().decode()
    assert "Mike Bostock" in text
    assert "Observable, Inc." in text
    assert "Kevin Decker" in text
    assert "SIL OPEN FONT LICENSE" in text


def about_of(source: Path, asked: Asked, fields: Fields | None = None) -> About:
    """What is said of a run that has an answer, where the service has gone since."""
    against = wire.DirectionRef(name=asked.direction, version=3, checkpoint="llama", languages={"de": 1})
    journal = Journal({})
    journal.results.append(
        wire.FilterResult(
            job_id="j",
            direction=against,
            decisions=[],
            summary=wire.Summary(kept=0, dropped=0, by_language={}),
            timing=wire.Timing(queued_s=0, gradients_s=0, decide_s=0, total_s=0),
        )
    )
    with (
        Source(str(source)) as rows,
        Client(f"http://127.0.0.1:{free_port()}", "secret", max_retries=0) as client,
    ):
        return about_run(Run(rows, fields or Fields(), asked, Survey()), journal, client)


PLAIN = Asked(
    "default", update=True, selection=wire.ThresholdSelection(), checkpoint=None, batch_size=256, two_pass=False
)


def test_a_service_that_has_gone_costs_the_report_its_cosines_only(
    samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = about_of(samples, PLAIN)
    assert about.state is None
    assert about.scored_against is not None
    assert about.scored_against.version == 3
    assert "the report has no cosines between languages" in words(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (PLAIN, "congrad filter in.jsonl -o kept.jsonl --max-conflict 0 --direction default --one-pass"),
        (
            replace(
                PLAIN,
                selection=wire.FractionSelection(keep=0.6, within="request"),
                update=False,
                checkpoint="my llama",
                batch_size=8,
            ),
            "congrad filter in.jsonl -o kept.jsonl --keep 0.6 --within request --direction default "
            "--checkpoint 'my llama' --no-update --batch-size 8",
        ),
    ],
)
def test_a_report_says_how_to_run_it_again_and_not_where(asked: Asked, command: str, samples: Path) -> None:
    about = about_of(samples, asked)
    assert about.command == command
    content = json.dumps(page_of([decision(0.1)], [], about).summary)
    assert "secret" not in content
    assert "127.0.0.1" not in content
    assert str(samples.parent) not in content


def test_a_report_names_the_columns_that_were_read(samples: Path) -> None:
    fields = Fields({"chosen": "better"}, language="de", verdict=Verdict.of("1/2"))
    command = about_of(samples, PLAIN, fields).command
    assert command is not None
    assert "--field chosen=better --verdict 1/2 --language de" in command


def congrad(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["report", *(str(argument) for argument in arguments)])


def words(text: str) -> str:
    return " ".join(text.split())


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = [
    {"id": "first", "language": "de", "prompt": "p", "better": "a", "rejected": "b"},
    {"id": "second", "language": "pt_br", "prompt": "q", "better": "c", "rejected": "d"},
]
SCORES = [
    {"id": "line 1", "language": "de", "keep": True, "conflict_score": -0.25, "conflicts_with": [], "truncated": False,
     "reason": None},
    {"id": "line 2", "language": "pt-BR", "keep": False, "conflict_score": 0.5, "conflicts_with": ["de"],
     "truncated": True, "reason": None},
]  # fmt: skip


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "scores.jsonl", SCORES)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "in.jsonl", ROWS)


def test_scores_and_the_file_that_was_filtered_become_a_page(scores: Path, samples: Path, tmp_path: Path) -> None:
    done = congrad(scores, "--samples", samples, "--field", "chosen=better", "-o", tmp_path / "report.html")
    assert done.exit_code == 0, done.stderr
    page = Page((tmp_path / "report.html").read_bytes())
    assert page.summary["source"] == "in.jsonl"
    assert page.summary["summary"]["by_language"]["pt-BR"] == {
        "kept": 0,
        "dropped": 1,
        "repeated": 0,
        "mean_conflict": 0.5,
    }
    assert page.summary["threshold"] == 0.0
    assert page.summary["truncated"] == 1
    assert page.summary["matrix"] is None
    assert page.pairs == [
        ["line 1", "de", True, -0.25, [], False, False, None, ["p", "a", "b"], 0],
        ["line 2", "pt-BR", False, 0.5, ["de"], True, False, None, ["q", "c", "d"], 1],
    ]


def test_scores_alone_become_a_page_without_texts(scores: Path) -> None:
    done = congrad(scores, "-o", "-")
    assert done.exit_code == 0, done.stderr
    page = Page(done.stdout_bytes)
    assert page.summary["source"] == "scores.jsonl"
    assert page.summary["with_texts"] is False
    assert [row[8] for row in page.pairs] == [None, None]


def with_ids(*names: str) -> list[Any]:
    return [row | {"id": name} for row, name in zip(SCORES, names, strict=True)]


@pytest.mark.parametrize("names", [("line 1", "line 2"), ("first", "second"), ("0", "1")])
def test_decisions_are_joined_by_line_by_id_and_by_position(
    names: tuple[str, str], tmp_path: Path, samples: Path
) -> None:
    decisions = read_decisions(str(write_lines(tmp_path / "own.jsonl", with_ids(*names))))
    with Source(str(samples)) as source:
        found = list(samples_of(source, Fields({"chosen": "better"}), decisions))
    assert [sample["chosen"] for sample in found] == ["a", "c"]


def test_rows_that_are_no_samples_may_have_no_decision(tmp_path: Path) -> None:
    """As where gradients are scored again, which are those of samples."""
    row = {"language": "de", "prompt": "q", "response_a": "a", "response_b": "b"}
    rows = [row | {"winner": winner} for winner in ("a", "tie", "b", "tie", "?")]
    source = write_lines(tmp_path / "in.jsonl", rows)
    scores = [{**SCORES[0], "id": name, "language": "de"} for name in ("line 1", "line 3")]
    decisions = read_decisions(str(write_lines(tmp_path / "own.jsonl", scores)))
    fields = recognised(rows).fields
    with Source(str(source)) as opened:
        found = list(samples_of(opened, fields, decisions))
    assert [sample["chosen"] for sample in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[::-1], "line 1: is in 'pt-BR', and its decision about a pair in 'de'"),
        (ROWS[:1], "has 1 rows, and there are 2 decisions"),
        ([*ROWS, ROWS[0]], "has 3 rows, and there are 2 decisions"),
    ],
)
def test_another_file_is_refused_where_it_differs(rows: list[Any], message: str, scores: Path, tmp_path: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", rows)
    named = ("--field", "chosen=better")
    done = congrad(scores, "--samples", other, *named, "-o", tmp_path / "report.html")
    assert done.exit_code == 2
    assert message in words(done.stderr)
    assert not (tmp_path / "report.html").exists()


def test_a_file_whose_texts_are_in_other_columns_is_refused(scores: Path, samples: Path, tmp_path: Path) -> None:
    done = congrad(scores, "--samples", samples, "-o", tmp_path / "report.html")
    assert done.exit_code == 2
    assert "in.jsonl: its rows are of no format that is known" in words(done.stderr)


def test_a_page_that_is_called_another_kind_of_file_is_told_of(scores: Path, tmp_path: Path) -> None:
    for name, is_told in (("report.pdf", True), ("report.html", False)):
        done = congrad(scores, "-o", tmp_path / name)
        assert done.exit_code == 0, done.stderr
        assert ("a report is HTML, whatever the suffix" in words(done.stderr)) is is_told


def test_the_texts_may_be_in_several_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    first, second = (
        write_lines(tmp_path / "in" / f"{name}.jsonl", [row]) for name, row in zip("ab", ROWS, strict=True)
    )
    scores = write_lines(tmp_path / "scores.jsonl", with_ids("a.jsonl, line 1", "b.jsonl, line 1"))
    for given in ([tmp_path / "in"], [tmp_path / "in" / "*.jsonl"], [first, second]):
        named = [word for path in given for word in ("--samples", path)]
        done = congrad(scores, *named, "--field", "chosen=better", "-o", tmp_path / "report.html")
        assert done.exit_code == 0, done.stderr
        page = Page((tmp_path / "report.html").read_bytes())
        assert page.summary["source"] == "a.jsonl and 1 more"
        assert [row[8] is None for row in page.pairs] == [False, False]
    done = congrad(scores, "--samples", tmp_path / "in", "--field", "chosen=better", "-o", second)
    assert "is an input; it would be overwritten" in words(done.stderr)


def test_a_file_without_languages_has_those_of_its_decisions(scores: Path, tmp_path: Path) -> None:
    rows = [{"chosen": "a", "rejected": "b"}, {"chosen": "c", "rejected": "d"}]
    plain = write_lines(tmp_path / "plain.jsonl", rows)
    done = congrad(scores, "--samples", plain, "-o", "-")
    assert done.exit_code == 0, done.stderr
    assert [row[8] for row in Page(done.stdout_bytes).pairs] == [[None, "a", "b"], [None, "c", "d"]]


def test_decisions_on_other_rows_are_refused(tmp_path: Path, samples: Path) -> None:
    scores = write_lines(tmp_path / "own.jsonl", with_ids("line 1", "line 3"))
    done = congrad(scores, "--samples", samples, "--field", "chosen=better", "-o", tmp_path / "report.html")
    assert done.exit_code == 2
    assert "line 2: the decision in its place is about 'line 3'" in words(done.stderr)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no decisions"),
        (ROWS, "line 1: is no decision (keep: Field required)"),
        ([SCORES[0], SCORES[1] | {"conflict_score": "high"}], "line 2: is no decision (conflict_score"),
        ([ROWS[0] | {"congrad": {"conflict_score": 0.5}}], "holds dropped rows"),
    ],
)
def test_what_is_no_file_of_decisions_is_refused(rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        read_decisions(str(write_lines(tmp_path / "wrong.jsonl", rows)))
    assert message in str(caught.value)
    assert "congrad filter --scores FILE" in str(caught.value)


def test_decisions_may_be_in_a_file_that_is_called_a_list(tmp_path: Path) -> None:
    """As other rows may: `--scores scores.json` writes the same lines."""
    assert len(read_decisions(str(write_lines(tmp_path / "scores.json", SCORES)))) == len(SCORES)


def test_a_page_does_not_overwrite_what_it_is_made_of(scores: Path, samples: Path) -> None:
    for output in (scores, samples):
        done = congrad(scores, "--samples", samples, "-o", output)
        assert done.exit_code == 2
        assert "is an input; it would be overwritten" in words(done.stderr)
    assert json.loads(scores.read_text().splitlines()[0]) == SCORES[0]
