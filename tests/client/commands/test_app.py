"""What the `congrad` command makes of its arguments, before it needs a service."""

import json
import logging
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import httpx
import pyarrow
import pytest
from congrad.commands.app import app
from congrad.commands.terminal.output import say_warnings
from congrad.local.redis_server import free_port
from congrad.showing import progress
from pyarrow import parquet
from support.commands import CONGRAD
from support.stub_service import StubService
from typer.testing import CliRunner, Result

ROWS = [
    {"language": "de", "prompt": "p", "chosen": "a", "rejected": "b"},
    {"language": "fr", "prompt": "p", "chosen": "c", "rejected": "d"},
    {"language": "de", "prompt": "p", "chosen": "e", "rejected": "f"},
]


def congrad(*arguments: str | Path, stdin: str | None = None, **environment: str) -> Result:
    """Runs the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, env=environment)


def words(text: str) -> str:
    """What was printed, without boxes and line breaks."""
    return " ".join(re.sub(r"[─-╿]", " ", text).split())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of three rows."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


INTERRUPTED = """
import runpy, sys
from congrad.commands import app

def interrupted():
    try:
        exec("raise KeyboardInterrupt")  # as one that comes while a library defines a dataclass
    except KeyboardInterrupt:
        sys.exit(130)

app.app = interrupted
runpy.run_module("congrad", run_name="__main__")
"""


def test_its_exit_status_is_its_own_wherever_an_interrupt_came(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    assert subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False).returncode == 130


def test_an_interrupt_while_it_is_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    ended = subprocess.run([*CONGRAD, "status"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_data_folder_in_the_home_is_not_made_beside_where_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()  # so that nothing is started
    (tmp_path / "here").mkdir()
    command = [*CONGRAD, "up", "--port", "0", "--data-dir=~/taken"]
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"congrad: {tmp_path / 'taken'} cannot be used to keep data in" in done.stderr
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--data-dir", "~nobody-here/data"]])
def test_a_data_folder_in_a_home_that_nobody_knows_is_asked_for(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose user is a number only."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    done = congrad("up", "--port", "0", *arguments)
    assert done.exit_code == 2
    assert "no home directory is known to keep data in; give --data-dir a folder by its whole path" in words(
        done.stderr
    )


def test_help_names_every_command_and_what_to_do_first() -> None:
    shown = words(congrad("--help").stdout)
    for command in ("filter", "report", "demo", "up", "status", "doctor", "direction"):
        assert f" {command} " in shown
    assert "congrad up --model PATH" in shown
    assert "congrad filter pairs.parquet -o kept.parquet" in shown
    assert "0 done; 1 the work failed" in shown


def test_help_of_filter_has_examples_and_shows_no_token() -> None:
    done = congrad("filter", "--help", CONGRAD_API_KEY="secret", CONGRAD_BASE_URL="http://filter:1")
    shown = words(done.stdout)
    assert "congrad filter pairs.parquet -o kept.parquet --dropped dropped.parquet" in shown
    assert "CONGRAD_API_KEY" in shown
    assert "secret" not in shown
    assert "pip install 'congrad-filter[parquet]'" in shown
    assert "130 interrupted" in shown


def test_version_is_that_of_the_distribution() -> None:
    assert congrad("--version").stdout == f"congrad {version('congrad-filter')}\n"


def test_commands_are_completed_by_the_shell() -> None:
    completed = subprocess.run(
        [Path(sys.executable).with_name("congrad")],
        env={"_CONGRAD_COMPLETE": "complete_bash", "COMP_WORDS": "congrad direction ex", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
    )
    assert completed.stdout.split() == ["export"], completed.stderr


def test_the_sdk_imports_no_command_line() -> None:
    code = "import sys, congrad; print([m in sys.modules for m in ('typer', 'congrad.commands.app', 'pyarrow')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[False, False, False]\n"


def test_a_dry_run_says_what_would_be_sent(source: Path, tmp_path: Path) -> None:
    unreachable = f"http://127.0.0.1:{free_port()}"
    arguments = (
        "filter",
        source,
        "-o",
        tmp_path / "kept.jsonl",
        "--url",
        unreachable,
        "--dry-run",
        "--batch-size",
        "2",
    )
    done = congrad(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan.pop("bytes") == pytest.approx(len(source.read_bytes()), rel=0.5)
    assert plan == {"rows": 3, "by_language": {"de": 2, "fr": 1}, "requests": 2}
    shown = words(congrad(*arguments).stdout)
    assert "de 2 fr 1" in shown
    assert "3 rows in 2 requests" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_standard_input_is_read_as_json_lines_unless_it_is_something_else() -> None:
    arguments = ("filter", "-", "-o", "-", "--dry-run", "--json")
    done = congrad(*arguments, stdin=json.dumps(ROWS[0]))
    assert json.loads(done.stdout)["rows"] == 1
    done = congrad(*arguments, "--input-format", "csv", stdin="language,chosen,rejected\nde,a,b\nfr,a,b\n")
    assert json.loads(done.stdout)["by_language"] == {"de": 1, "fr": 1}


def test_columns_are_named_by_options(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("lang,better,worse\nde,a,b\n")
    base = ("filter", source, "-o", tmp_path / "kept.csv", "--dry-run", "--json")
    named = ("--field", "chosen=better", "--field", "rejected=worse")
    assert json.loads(congrad(*base, *named, "--language-field", "lang").stdout)["by_language"] == {"de": 1}
    assert json.loads(congrad(*base, *named, "--field", "language=lang").stdout)["by_language"] == {"de": 1}
    assert json.loads(congrad(*base, *named, "--language", "pt_br").stdout)["by_language"] == {"pt-BR": 1}
    missing = congrad(*base, *named, "--field", "prompt=query", "--language", "de")
    assert missing.exit_code == 2
    assert "there is no column 'query' for prompt; the columns are lang, better, worse" in words(missing.stderr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--selection", "fraction"], "a fraction needs --keep"),
        (["--keep", "0.5", "--max-conflict", "0"], "give one of them"),
        (["--within", "stream"], "--keep and --within belong to --selection fraction"),
        (["--selection", "threshold", "--keep", "0.5"], "--keep and --within belong to --selection fraction"),
        (["--keep", "1.5"], "Invalid value for '--keep'"),
        (["--keep", "nan"], "Invalid value"),
        (["--field", "chosen"], "should be NAME=COLUMN"),
        (["--field", "id=row"], "NAME one of language, prompt, chosen"),
        (["--field", "language=a", "--language-field", "b"], "the column of language is given twice"),
        (["--language", "de", "--language-field", "b"], "give it or --language-field"),
        (["--two-pass", "--no-update"], "--two-pass folds all rows in"),
        (["--url", "http://h", "--model", "m"], "give one of them"),
        (["--url", "localhost:8000"], "should begin with http:// or https://"),
        (["--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["--language", "englisch"], "--language: 'englisch' is not a BCP 47"),
        (["--dropped", "{kept}"], "is named for two outputs"),
        (["--dropped", "{source}"], "is the input; it would be overwritten"),
        (["--dropped", "{folder}/none/dropped.jsonl"], "there is no such folder"),
        (["--dropped", "{folder}"], "is a folder; a file should be named"),
        (["--dropped", "{kept}.congrad", "--output-format", "jsonl"], "is where an unfinished run keeps its answers"),
        (["--scores", "{kept}.congrad"], "is where an unfinished run keeps its answers"),
        (["--dropped", "/dev/stdout", "--scores", "-"], "is named for two outputs"),
        (["--timeout", "inf"], "the total timeout is inf"),
        (["--timeout", "nan"], "Invalid value"),
        (["--timeout", "0"], "Invalid value for '--timeout'"),
        (["--timeout", "-1"], "Invalid value for '--timeout'"),
    ],
)
def test_options_that_are_wrong_are_refused_before_anything_is_sent(
    options: list[str], message: str, source: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.jsonl"
    filled = [option.format(kept=kept, source=source, folder=tmp_path) for option in options]
    done = congrad("filter", source, "-o", kept, *filled)
    assert done.exit_code == 2, done.output
    assert message in words(done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_input_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    done = congrad("filter", source, "-o", link)
    assert done.exit_code == 2
    assert "is the input; it would be overwritten" in words(done.stderr)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = congrad("filter", tmp_path / "in.parquet", "-o", tmp_path / "kept.parquet")
    assert done.exit_code == 2
    assert done.stderr == "congrad: Parquet needs pyarrow; install it with: pip install 'congrad-filter[parquet]'\n"


def test_a_service_that_is_not_there_is_a_failure_of_the_work() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    shown = congrad("status", "--url", url, "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["ready"] is False
    examined = congrad("doctor", "--url", url, "--json")
    assert examined.exit_code == 1
    checks = {check["name"]: check for check in json.loads(examined.stdout)["checks"]}
    assert checks["service"]["mark"] == "failed"
    assert "congrad up --model PATH" in checks["service"]["hint"]
    assert checks["redis"]["mark"] == "info"
    assert congrad("direction", "list", "--url", url).exit_code == 1


@contextmanager
def serving(status: int, body: bytes, date: str | None = None) -> Iterator[str]:
    """A server that answers everything alike; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is the library's
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            if date is not None:
                self.send_header("Date", date)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_doctor_tells_congrad_from_what_else_may_answer() -> None:
    with serving(200, b"<html>") as url:
        done = congrad("doctor", "--url", url)
    assert done.exit_code == 1
    assert "not as CONGRAD does" in words(done.stdout)


def test_doctor_warns_of_a_clock_that_is_off() -> None:
    with serving(200, b'{"status": "live"}', date="Sat, 01 Jan 2000 00:00:00 GMT") as url:
        done = congrad("doctor", "--url", url, "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["clock"]["mark"] == "warning"
    assert "ahead of the service" in checks["clock"]["detail"]


def test_a_direction_is_not_forgotten_unasked() -> None:
    done = congrad("direction", "reset", "default", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 2
    assert "say so with --yes" in done.stderr


def test_a_state_that_cannot_be_read_is_a_wrong_argument(tmp_path: Path) -> None:
    done = congrad("direction", "import", "name", tmp_path / "none.safetensors")
    assert done.exit_code == 2
    assert "none.safetensors: cannot be read" in done.stderr


@pytest.mark.parametrize("url", ["foo", "http://[::1", "http://here:port"])
@pytest.mark.parametrize(
    "arguments",
    [["status"], ["doctor"], ["direction", "list"], ["direction", "show"], ["filter", "{source}", "-o", "-"]],
)
def test_an_address_that_is_none_is_a_wrong_argument(arguments: list[str], url: str, source: Path) -> None:
    done = congrad(*(argument.format(source=source) for argument in arguments), "--url", url)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert done.stderr.startswith("congrad: ")


@contextmanager
def deciding(stub: StubService) -> Iterator[str]:
    """The stub as a server; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the names are the library's
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = stub(
                httpx.Request(self.command, f"http://stub{self.path}", headers=dict(self.headers), content=body)
            )
            self.send_response_only(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def rows_kept(folder: Path, number: int, length: int = 1) -> Path:
    """A file of rows that the stub keeps."""
    row = {"language": "de", "prompt": "p" * length, "chosen": "0", "rejected": "b"}
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(number)))
    return path


def run_with_files_of_at_most(size: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command where no file grows beyond so many bytes, as on a disk that is full."""
    return subprocess.run(
        [*CONGRAD, *map(str, arguments)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


@pytest.mark.parametrize("size", [pytest.param(60, marks=pytest.mark.slow), 20_000])
def test_a_disk_that_is_full_ends_a_run_that_then_goes_on(size: int, tmp_path: Path) -> None:
    source, kept, stub = rows_kept(tmp_path, 400), tmp_path / "kept.jsonl", StubService()
    with deciding(stub) as url:
        arguments = ("filter", source, "-o", kept, "--url", url, "--batch-size", "50", "--concurrency", "1")
        full = run_with_files_of_at_most(size, *arguments)
        assert full.returncode == 1
        assert "congrad: the answers cannot be kept beside the output: File too large\n" in full.stderr
        assert "Traceback" not in full.stderr
        done = congrad(*arguments)
    assert done.exit_code == 0, done.stderr
    assert kept.read_text() == source.read_text()
    assert set(stub.folded.values()) == {1}


def test_what_cannot_be_written_is_not_lost(tmp_path: Path) -> None:
    source, kept, stub = rows_kept(tmp_path, 2, length=100_000), tmp_path / "kept.jsonl", StubService()
    with deciding(stub) as url:
        arguments = ("filter", source, "-o", kept, "--url", url, "--batch-size", "1")
        full = run_with_files_of_at_most(100_000, *arguments)
        assert full.returncode == 1
        assert "kept.jsonl: cannot be written: File too large" in full.stderr
        assert f"the decisions are kept in {kept}.congrad: the same command goes on from there" in full.stderr
        assert "Traceback" not in full.stderr
        done = congrad(*arguments, "--output-format", "csv")
    assert done.exit_code == 0, done.stderr
    assert kept.read_text().startswith("language,prompt,chosen,rejected\n")
    assert len(stub.bodies) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "kept.jsonl"]


def test_a_long_file_is_seen_to_be_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0)
    source = rows_kept(tmp_path, 2_500)
    with deciding(StubService()) as url:
        done = congrad("filter", source, "-o", tmp_path / "kept.jsonl", "--url", url)
    assert done.exit_code == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.endswith("so far")] == [
        f"{doing}: {rows:,} rows so far" for doing in ("reading", "writing") for rows in (1_000, 2_000)
    ]


def test_what_the_output_does_not_take_is_found_before_anything_is_sent(tmp_path: Path) -> None:
    source, stub = tmp_path / "in.jsonl", StubService()
    mixed = [{"language": "de", "chosen": "0", "rejected": "b", "meta": meta} for meta in (1, "x", 2)]
    source.write_text("".join(json.dumps(row) + "\n" for row in mixed))
    with deciding(stub) as url:
        for output in (("-o", "kept.parquet"), ("-o", "kept.jsonl", "--dropped", "dropped.parquet")):
            named = [tmp_path / name if "." in name else name for name in output]
            done = congrad("filter", source, *named, "--url", url)
            assert done.exit_code == 2
            assert "the values of 'meta' are no column of Parquet" in words(done.stderr)
    assert stub.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_bad_rows_stop_a_run_before_anything_is_sent_or_are_dropped_with_what_is_wrong(tmp_path: Path) -> None:
    source, kept, dropped, scores = (tmp_path / f"{name}.jsonl" for name in ("in", "kept", "dropped", "scores"))
    good = {"language": "de", "prompt": "p", "chosen": "0", "rejected": "b"}
    rows = [good, good | {"chosen": None}, good | {"chosen": "7"}, good | {"language": None}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{half\n")
    stub = StubService()
    with deciding(stub) as url:
        arguments = ("filter", source, "-o", kept, "--dropped", dropped, "--scores", scores, "--url", url, "--one-pass")
        refused = congrad(*arguments)
        assert refused.exit_code == 2
        assert refused.stderr.splitlines()[1] == f"congrad: {source}: 3 rows are no samples"
        assert "line 5: is not JSON" in refused.stderr
        assert "nothing was sent; --bad-rows drop goes on without them" in refused.stderr
        assert (stub.requests, kept.exists()) == ([], False)
        done = congrad(*arguments, "--bad-rows", "drop", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["kept"], summary["dropped"], summary["without_score"]) == (1, 4, {"bad_row": 3})
    assert stub.folded == {"line 1": 1, "line 3": 1}
    assert kept.read_text() == json.dumps(good) + "\n"
    told = [json.loads(line) for line in dropped.read_text().splitlines()]
    assert [row["congrad"]["detail"] for row in told][:3] == ["chosen: is missing", None, "language: is missing"]
    assert told[3]["unreadable"] == "{half"
    decided = [json.loads(line) for line in scores.read_text().splitlines()]
    assert [row["id"] for row in decided] == [f"line {number}" for number in range(1, 6)]
    page = congrad("report", scores, "--samples", source, "-o", tmp_path / "report.html")
    assert page.exit_code == 0, page.stderr


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/proc/self/fd/1"])
def test_what_standard_output_leads_to_is_appended_to(name: str, tmp_path: Path) -> None:
    source, target = rows_kept(tmp_path, 3), tmp_path / "all.jsonl"
    target.write_text("earlier\n")
    with deciding(StubService()) as url, target.open("ab") as file:
        command = [*CONGRAD, "filter", str(source), "-o", name, "--url", url, "--json"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert target.read_text() == "earlier\n" + source.read_text()
    assert json.loads(done.stderr)["kept"] == 3


def test_ties_are_left_out_unasked_and_told_of(tmp_path: Path) -> None:
    source, kept, dropped = (tmp_path / f"{name}.parquet" for name in ("in", "kept", "dropped"))
    labels = ["model_a", "tie", "model_a", "tie (bothbad)"]
    columns = {"language": ["de"] * 4, "response_a": ["0"] * 4, "response_b": ["b"] * 4, "winner": labels}
    parquet.write_table(pyarrow.table(columns), source)
    stub = StubService()
    with deciding(stub) as url:
        outputs = ("-o", kept, "--dropped", dropped, "--scores", tmp_path / "scores.jsonl")
        done = congrad("filter", source, *outputs, "--url", url, "--one-pass")
    assert done.exit_code == 0, done.stderr
    page = congrad("report", tmp_path / "scores.jsonl", "--samples", source, "-o", tmp_path / "report.html")
    assert page.exit_code == 0, page.stderr
    assert "2 ties left out: neither answer is preferred" in done.stderr.splitlines()
    assert "without a score: 2 tie" in done.stderr.splitlines()
    assert stub.folded == {"row 1": 1, "row 3": 1}
    assert parquet.read_table(kept)["winner"].to_pylist() == ["model_a"] * 2
    left_out = parquet.read_table(dropped).to_pylist()
    assert [row["winner"] for row in left_out] == ["tie", "tie (bothbad)"]
    assert left_out[0]["congrad"]["reason"] == "tie"
    assert left_out[0]["congrad"]["detail"] == "winner is 'tie', so neither answer is preferred"
    plan = congrad("filter", source, "-o", kept, "--dry-run", "--json")
    assert json.loads(plan.stdout)["ties"] == 2


def test_what_becomes_of_outputs_and_of_rows_with_little_to_say_is_told(tmp_path: Path) -> None:
    source, kept, dropped = (tmp_path / f"{name}.jsonl" for name in ("in", "kept", "dropped"))
    row = {"language": "de", "chosen": "0", "rejected": "b"}
    rows = [row | {"prompt": prompt} for prompt in ("p", "", " ")]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with deciding(StubService()) as url:
        arguments = ("filter", source, "-o", kept, "--url", url, "--one-pass")
        first, second = congrad(*arguments), congrad(*arguments, "--dropped", dropped)
    replaced, reminder = (
        f"{kept}: is there already, and will be replaced",
        "dropped rows will not be written; --dropped",
    )
    assert (replaced in first.stderr, reminder in first.stderr) == (False, True)
    assert (replaced in second.stderr, reminder in second.stderr) == (True, False)
    assert "2 rows have an empty prompt" in first.stderr.splitlines()


def test_a_warning_of_the_sdk_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_warnings()
    say_warnings()
    logging.getLogger("congrad").warning("the service [cannot]\nbe reached")
    logging.getLogger("congrad").info("trying again")
    assert capsys.readouterr().err == "congrad: the service [cannot] be reached\n"


def test_a_warning_does_not_break_the_progress_bar() -> None:
    """On a terminal of its own, a warning that another thread logs has a line of its own."""
    code = (
        "import logging, sys; from threading import Thread\n"
        "from congrad.commands.terminal.output import say_warnings\n"
        "from congrad.showing.progress import progress_bar\n"
        "say_warnings()\n"
        "with progress_bar(2, None) as advance:\n"
        "    thread = Thread(target=logging.getLogger('congrad').warning, args=['the service is away'])\n"
        "    thread.start(); thread.join(); advance(2)\n"
    )
    reader, terminal = os.openpty()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=terminal, env={**os.environ, "TERM": "xterm"})
    shown = os.read(reader, 100_000).decode()
    os.close(reader)
    os.close(terminal)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").split("\n")
    assert "congrad: the service is away" in lines
    assert "2/2" in shown
