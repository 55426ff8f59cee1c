"""The `congrad` command, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from congrad import Client
from congrad.contract.tokens import Role
from congrad.local.redis_server import free_port
from congrad.local.stack import Stack
from support.commands import CONGRAD, run
from support.models import DEMO_CHECKPOINT, save_small_llama
from support.pairs import demo_samples
from support.tokens import bearer, write_tokens

ADMIN = "admin-secret"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "there is no such folder"),
        # by a worker alone: worker/processes/test_worker.py
        pytest.param(lambda folder: _broken(folder), "cannot be loaded", marks=pytest.mark.slow),
    ],
)
def test_up_refuses_what_is_no_checkpoint_in_one_line(make: object, message: str, tmp_path: Path) -> None:
    """What a worker refuses, before and after it has a child; what else it does is in its own tests."""
    model = make(tmp_path)  # type: ignore[operator]
    done = run("up", "--model", str(model), "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if message in line], done.stderr
    assert "Traceback" not in done.stderr
    assert _left(_running_with(f"CONGRAD_MODEL={model}")) == []


def test_up_refuses_a_port_that_is_taken(stack: Stack, tmp_path: Path) -> None:
    port = stack.url.rpartition(":")[2]
    done = run("up", "--model", str(DEMO_CHECKPOINT), "--port", port, "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert f"port {port} cannot be had" in done.stderr
    assert "congrad is ready" not in done.stderr


def _broken(folder: Path) -> Path:
    """A checkpoint that looks right until its weights are read, by the child that loads them."""
    save_small_llama(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    return folder


def _running_with(text: str) -> list[int]:
    """Processes with a text in their environment, which every part of a stack inherits."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
    return found


class Up:
    """`congrad up` on one data folder, with a file of tokens and no checkpoint named."""

    def __init__(self, folder: Path):
        port, tokens = free_port(), write_tokens(folder / "tokens.toml", (ADMIN, Role.ADMIN, None))
        options = ["--port", str(port), "--data-dir", str(folder), "--json"]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [*CONGRAD, "up", *options]
        self._environment = os.environ | {"CONGRAD_API_KEYS_FILE": str(tokens)}
        self._log = folder / "up.log"
        self._process: subprocess.Popen[str] | None = None

    def running(self) -> subprocess.Popen[str]:
        """Its process, which is started where there is none, once it is ready."""
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            assert self._process.stdout is not None
            printed = "".join(self._process.stdout.readline() for _ in range(4))  # at once, when it is ready
            assert self._process.poll() is None, self.said()
            assert json.loads(printed)["url"] == self.url
        return self._process

    def said(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    started = Up(tmp_path_factory.mktemp("up"))
    yield started
    started.close()


@pytest.mark.slow  # of a run that brings up a stack of its own: test_filter_command.py
def test_one_interrupt_stops_everything_and_loses_nothing(up: Up) -> None:
    process, rows = up.running(), demo_samples("de", "fr", each=6)
    children = _descendants(process.pid)
    with Client(up.url, ADMIN, max_retries=0) as client:
        client.filter(rows, direction="kept")
        before = client.directions.get("kept")
        many = [row | {"id": str(index)} for index, row in enumerate(rows * 8)]
        accepted = client.jobs.submit(many, direction="late")
    process.send_signal(signal.SIGINT)  # with a job in the queue, or under way
    assert process.wait(60) == 0, up.said()
    assert _left(children) == []
    assert process.stdout is not None
    process.stdout.close()
    up.running()
    with Client(up.url, ADMIN, max_retries=0) as client:
        assert client.directions.get("kept") == before
        deadline = time.monotonic() + 90
        while not (job := client.jobs.get(accepted)).status.ended and time.monotonic() < deadline:
            time.sleep(0.2)
        assert job.status == "succeeded", (job, up.said()[-3000:])
        assert client.directions.get("late").version == 1


def test_up_is_ready_with_a_file_of_tokens_alone(up: Up) -> None:
    up.running()
    assert httpx.get(f"{up.url}/readyz", headers=bearer(ADMIN)).status_code == 200
    assert httpx.get(f"{up.url}/readyz").status_code == 401


def test_up_without_a_checkpoint_serves_a_toy_and_says_so(up: Up) -> None:
    up.running()
    with Client(up.url, ADMIN) as client:
        assert [checkpoint.name for checkpoint in client.checkpoints()] == [DEMO_CHECKPOINT.name]
    assert "without --model a toy is served" in up.said()


def test_nothing_outlives_a_killed_supervisor(up: Up) -> None:
    process = up.running()
    children = _descendants(process.pid)
    assert len(children) >= 4
    process.kill()
    process.wait()
    assert _left(children) == []


def _left(processes: list[int], patience: float = 15.0) -> list[int]:
    """Which processes are there still; some, like multiprocessing's tracker, see the end of others before they go."""
    deadline = time.monotonic() + patience
    while (left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [descendant for child in children for descendant in _descendants(child)]


def test_demo_prints_its_table(stack: Stack) -> None:
    """On a stack that runs; that the command starts one of its own is seen below, and by `make test-wheel`."""
    code = f"""
from contextlib import nullcontext
from congrad.__main__ import main
from congrad.local import demo, stack
demo.running_stack = lambda options: nullcontext(stack.Stack({stack.url!r}, {{}}, None))
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "144 pairs in 12 languages" in done.stdout
    assert "Dropped of the 29 pairs with a planted swapped label" in done.stdout
    assert "By language" in done.stdout


@pytest.mark.slow  # with a stack of its own; the one above has the same figures
def test_demo_as_json_is_one_object() -> None:
    done = run("demo", "--json", timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["planted"]["pairs"] + result["clean"]["pairs"] == 144
    assert result["summary"]["kept"] + result["summary"]["dropped"] == 144


def test_status_shows_what_a_service_serves(stack: Stack, client: Client) -> None:
    client.filter(demo_samples("de", "fr", each=2), direction="shown")
    (checkpoint,) = client.checkpoints()
    done = run("status", "--url", stack.url, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["ready"], shown["problem"]) == (True, None)
    assert [item["fingerprint"] for item in shown["checkpoints"]] == [checkpoint.fingerprint]
    assert {"name": "shown", "version": 1, "checkpoint": checkpoint.name, "languages": {"de": 2, "fr": 2}} in [
        {name: item[name] for name in ("name", "version", "checkpoint", "languages")} for item in shown["directions"]
    ]
    plain = run("status", "--url", stack.url)
    assert plain.returncode == 0
    assert f"{stack.url}: ready" in plain.stdout
    assert checkpoint.fingerprint[:12] in plain.stdout


def test_doctor_finds_nothing_wrong_with_a_service_that_works(stack: Stack) -> None:
    done = run("doctor", "--url", stack.url, "--json")
    assert done.returncode == 0, done.stdout
    marks = {check["name"]: check["mark"] for check in json.loads(done.stdout)["checks"]}
    assert [name for name, mark in marks.items() if mark == "ok"] == [
        *("service", "clock", "token", "ready", "checkpoints", "versions"),
    ]
    plain = run("doctor", "--url", stack.url)
    assert plain.returncode == 0
    assert plain.stdout.count("ok      ") == 6


def test_doctor_tells_a_missing_token_from_missing_workers(redis_url: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_PORT": str(port), "CONGRAD_API_KEY": "right"}
    with subprocess.Popen([sys.executable, "-m", "congrad_service"], env=os.environ | settings) as service:
        try:
            while _is_closed(url):
                assert service.poll() is None
                time.sleep(0.1)  # nothing tells when a socket opens
            for token, name, detail in (
                ((), "token", "the service asks for a token"),
                (("--api-key", "wrong"), "token", "the service does not accept this token"),
                (("--api-key", "right"), "ready", "no live worker for"),
            ):
                done = run("doctor", "--url", url, "--json", *token)
                assert done.returncode == 1
                failed = [check for check in json.loads(done.stdout)["checks"] if check["mark"] == "failed"]
                assert failed[0]["name"] == name
                assert detail in failed[0]["detail"]
            without = run("direction", "list", "--url", url)
            assert without.returncode == 1
            assert "set CONGRAD_API_KEY" in without.stderr
            assert run("direction", "list", "--url", url, "--api-key", "right").returncode == 0
        finally:
            service.terminate()


def _is_closed(url: str) -> bool:
    try:
        return not httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return True


def test_a_direction_is_shown_and_moves_through_a_file(stack: Stack, client: Client, tmp_path: Path) -> None:
    client.filter(demo_samples("de", "fr", each=3), direction="moved")
    state, at = tmp_path / "state.safetensors", ("--url", stack.url)
    shown = run("direction", "show", "moved", *at)
    assert shown.returncode == 0, shown.stderr
    assert "Cosines of gradients after surgery" in shown.stdout
    exported = run("direction", "export", "moved", "-o", str(state), *at, "--json")
    assert json.loads(exported.stdout) == {"name": "moved", "file": str(state), "bytes": state.stat().st_size}
    before = json.loads(run("direction", "show", "moved", *at, "--json").stdout)
    assert run("direction", "reset", "moved", *at).returncode == 2  # nobody can be asked
    assert run("direction", "reset", "moved", "--yes", *at).returncode == 0
    gone = run("direction", "show", "moved", *at)
    assert gone.returncode == 1
    assert "404" in gone.stderr
    imported = run("direction", "import", "moved", str(state), *at, "--json")
    assert imported.returncode == 0, imported.stderr
    after = json.loads(imported.stdout)
    assert after["languages"] == before["languages"]
    assert after["cosines_after"] == before["cosines_after"]
    assert '"moved"' in run("direction", "list", *at, "--json").stdout
    state.write_bytes(b"no state")
    assert run("direction", "import", "moved", str(state), *at).returncode == 2  # a file that is wrong
