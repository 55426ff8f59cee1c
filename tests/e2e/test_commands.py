"""The `congrad` command, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from congrad import Client
from congrad.jsonl import read_rows
from congrad.redis_server import free_port
from congrad.stack import Stack
from support.models import DEMO_CHECKPOINT, save_small_llama
from support.pairs import demo_samples

CONGRAD = [sys.executable, "-m", "congrad"]


def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [*CONGRAD, *arguments], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )


def test_filter_splits_a_file_into_kept_and_dropped(stack: Stack, tmp_path: Path) -> None:
    source, kept, dropped = (tmp_path / name for name in ("in.jsonl", "kept.jsonl", "dropped.jsonl"))
    rows = [row | {"mine": i} for i, row in enumerate(demo_samples(each=3))]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("filter", str(source), "-o", str(kept), "--dropped", str(dropped), "--url", stack.url,
               "--direction", "file", "--batch-size", "20", "--keep", "0.5", "--within", "request")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "By language" in done.stdout
    both = [row.content["mine"] for path in (kept, dropped) for row in read_rows(path)]
    assert sorted(both) == list(range(36))
    assert len(read_rows(kept)) == 18
    assert all("conflict_score" in row.content["congrad"] for row in read_rows(dropped))


def test_filter_says_what_is_wrong_and_writes_nothing(stack: Stack, tmp_path: Path) -> None:
    source, kept = tmp_path / "in.jsonl", tmp_path / "kept.jsonl"
    good = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
    source.write_text(json.dumps(good) + "\n" + json.dumps(good | {"language": "english"}) + "\n")
    done = run("filter", str(source), "-o", str(kept), "--url", stack.url)
    assert done.returncode == 2
    assert "line 2: language: 'english' is not a BCP 47" in done.stderr
    assert "Traceback" not in done.stderr
    assert not kept.exists()
    source.write_text(json.dumps(demo_samples("de")[0] | {"prompt": "word " * 2000}) + "\n")
    long = run("filter", str(source), "-o", str(kept), "--url", stack.url)
    assert long.returncode == 1
    assert "(id 'line 1'): the prompt alone has" in long.stderr
    assert not kept.exists()
    assert run("filter", str(tmp_path / "none.jsonl"), "-o", str(kept), "--url", stack.url).returncode == 2
    dead = run("filter", str(source), "-o", str(kept), "--url", f"http://127.0.0.1:{free_port()}")
    assert dead.returncode == 1
    assert "cannot be reached" in dead.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "there is no such folder"),
        (lambda folder: folder, "has no config.json"),
        (lambda folder: _pickled(folder), "holds pickled weights only"),
        (lambda folder: _broken(folder), "cannot be loaded"),
    ],
)
def test_up_refuses_what_is_no_checkpoint_in_one_line(make: object, message: str, tmp_path: Path) -> None:
    model = make(tmp_path)  # type: ignore[operator]
    done = run("up", "--model", str(model), "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if message in line], done.stderr
    assert "Traceback" not in done.stderr
    assert _left(_running_with(f"CONGRAD_MODEL={model}")) == []


def test_up_refuses_a_setting_that_is_wrong_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGRAD_TARGET_MODULES", "(")
    done = run("up", "--model", str(DEMO_CHECKPOINT), "--port", "0", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert "CONGRAD_TARGET_MODULES: Value error, '(' is not a regular expression" in done.stderr
    assert "Traceback" not in done.stderr


def _pickled(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    return folder


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


def test_one_interrupt_stops_everything_and_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    command = [*CONGRAD, "up", "--model", str(DEMO_CHECKPOINT), "--port", str(port), "--data-dir", str(tmp_path)]
    rows = demo_samples("de", "fr", each=6)

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "up.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        with Client(f"http://127.0.0.1:{port}", max_retries=0) as client:
            while not client.is_ready():
                assert process.poll() is None, (tmp_path / "up.log").read_text()
                time.sleep(0.1)
        return process

    def stop(process: subprocess.Popen[bytes]) -> None:
        children = _descendants(process.pid)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
        assert _left(children) == []

    process = start()
    url = f"http://127.0.0.1:{port}"
    with Client(url, max_retries=0) as client:
        client.filter(rows, direction="kept")
        before = client.direction("kept")
        many = [row | {"id": str(index)} for index, row in enumerate(rows * 8)]
        body = {"samples": many, "direction": "late"}
        accepted = httpx.post(f"{url}/filter", json=body, headers={"Prefer": "respond-async"}).json()
    stop(process)  # with a job in the queue, or under way
    process = start()
    with Client(url, max_retries=0) as client:
        assert client.direction("kept") == before
        deadline = time.monotonic() + 90
        while not (job := client.job(accepted["id"])).status.ended and time.monotonic() < deadline:
            time.sleep(0.2)
        assert job.status == "succeeded", (job, (tmp_path / "up.log").read_text()[-3000:])
        assert client.direction("late").version == 1
    stop(process)


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    command = [*CONGRAD, "up", "--model", str(DEMO_CHECKPOINT), "--port", "0", "--data-dir", str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "congrad is ready" not in process.stderr.readline():
        assert process.poll() is None
    children = _descendants(process.pid)
    assert len(children) >= 4
    process.kill()
    process.wait()
    process.stderr.close()
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


def test_demo_prints_its_table() -> None:
    done = run("demo", timeout=240)
    assert done.returncode == 0, done.stderr
    assert "144 pairs in 12 languages" in done.stdout
    assert "Dropped of the 29 pairs with a planted swapped label" in done.stdout
