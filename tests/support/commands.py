"""The `congrad` command, as a user runs it."""

import subprocess
import sys

CONGRAD = [sys.executable, "-m", "congrad"]


def run(*arguments: str, timeout: float = 120, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    done = subprocess.run([*CONGRAD, *arguments], capture_output=True, timeout=timeout, input=stdin or b"")
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
