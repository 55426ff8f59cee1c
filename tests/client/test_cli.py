"""What the `congrad` command makes of its arguments, before it needs a service."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from congrad.cli import app
from congrad.redis_server import free_port
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


def test_help_names_every_command_and_what_to_do_first() -> None:
    shown = words(congrad("--help").stdout)
    for command in ("filter", "demo", "up", "status", "doctor", "direction"):
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
    assert "pip install 'congrad[parquet]'" in shown
    assert "130 interrupted" in shown


def test_version_is_that_of_the_distribution() -> None:
    assert congrad("--version").stdout == f"congrad {version('congrad')}\n"


def test_commands_are_completed_by_the_shell() -> None:
    completed = subprocess.run(
        [Path(sys.executable).with_name("congrad")],
        env={"_CONGRAD_COMPLETE": "complete_bash", "COMP_WORDS": "congrad direction ex", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
    )
    assert completed.stdout.split() == ["export"], completed.stderr


def test_the_sdk_imports_no_command_line() -> None:
    code = "import sys, congrad; print('typer' in sys.modules, 'congrad.cli' in sys.modules, 'pyarrow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False False False\n"


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
        (["--url", "localhost:8000"], "should begin with http:// or https://"),
        (["--batch-size", "0"], "Invalid value for '--batch-size'"),
        (["--language", "english"], "line 1: language: 'english' is not a BCP 47"),
        (["--dropped", "{kept}"], "is named for two outputs"),
        (["--dropped", "{source}"], "is the input; it would be overwritten"),
        (["--dropped", "{folder}/none/dropped.jsonl"], "there is no such folder"),
        (["--dropped", "{folder}"], "is a folder; a file should be named"),
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
    assert done.stderr == "congrad: Parquet needs pyarrow; install it with: pip install 'congrad[parquet]'\n"


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
        yield f"http://127.0.0.1:{server.server_port}"
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
