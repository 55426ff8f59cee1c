"""A command whose standard input or standard error is closed does its work, or says in a line why it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest

STARTED = """
import os, sys
from congrad.commands.terminal.closed import open_what_is_closed
open_what_is_closed()
assert sys.stdin.read() == "" and sys.stderr.write("told") and not sys.stderr.isatty()
assert os.path.sameopenfile(0, os.open(os.devnull, os.O_RDWR)) and os.get_inheritable(0) and os.get_inheritable(2)
"""


def run(shell: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("shell", ["<&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_they_lead_to_nothing_also_for_what_is_started(shell: str, tmp_path: Path) -> None:
    done = run(shell, "-c", STARTED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [("filter", "-", "-o", "k.jsonl"), ("report", "-", "-o", "r.html")])
def test_rows_from_a_closed_input_are_none(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run("<&-", "-m", "congrad", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(("congrad: standard input: holds no rows", "congrad: -: holds no decisions"))
