"""The `congrad` command, as a user runs it."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from support import forking

CONGRAD = [sys.executable, "-m", "congrad"]


def run(*arguments: str, timeout: float = 120, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end: in a fresh interpreter if it reads from a pipe, and else in a fork of one.

    :raises subprocess.TimeoutExpired: that takes longer than ``timeout`` seconds.
    """
    if stdin is not None:
        done = subprocess.run([*CONGRAD, *arguments], capture_output=True, timeout=timeout, input=stdin)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    with TemporaryDirectory(prefix="congrad-command-") as folder:
        stdout, stderr = (Path(folder, name) for name in ("stdout", "stderr"))
        stdout.touch()
        stderr.touch()
        status = _forks.run(arguments, stdout, stderr, timeout)
        said = (file.read_bytes().decode() for file in (stdout, stderr))
        return subprocess.CompletedProcess([*CONGRAD, *arguments], status, *said)


class _Forks:
    """The process that forks, from the first command on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        atexit.register(self.end)

    def run(self, arguments: tuple[str, ...], stdout: Path, stderr: Path, timeout: float) -> int:
        """The exit status of a command."""
        asked = {
            "arguments": arguments,
            "stdout": str(stdout),
            "stderr": str(stderr),
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        with self._lock, ThreadPoolExecutor(1) as reading:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            answer = reading.submit(process.stdout.readline)
            try:
                return int(answer.result(timeout))
            except TimeoutError:
                self.end()
                raise subprocess.TimeoutExpired([*CONGRAD, *arguments], timeout) from None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, forking.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        return self._process

    def end(self) -> None:
        """Ends it, with the command that it runs."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None


_forks = _Forks()
