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
    source.write_text('{"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}\n{"language": "english"}\n')
    done = run("filter", str(source), "-o", str(kept), "--url", stack.url)
    assert done.returncode == 1
    assert "(id 'line 2'): language: 'english' is not a BCP 47" in done.stderr
    assert "Traceback" not in done.stderr
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
    assert _children_of(tmp_path) == []


def _pickled(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    return folder


def _broken(folder: Path) -> Path:
    """A checkpoint that looks right until its weights are read, by the child that loads them."""
    save_small_llama(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    return folder


def _children_of(folder: Path) -> list[str]:
    """Commands of running processes that mention a folder."""
    commands = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(folder) in command:
                commands.append(command)
    return commands


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
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
        assert _children_of(tmp_path) == []

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
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


def _descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [descendant for child in children for descendant in _descendants(child)]


def test_demo_prints_its_table() -> None:
    done = run("demo", timeout=240)
    assert done.returncode == 0, done.stderr
    assert "144 pairs in 12 languages" in done.stdout
    assert "Dropped of the 29 pairs with a planted swapped label" in done.stdout
