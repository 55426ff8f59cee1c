"""`congrad demo`: the stack on a tiny checkpoint, and a small real batch."""

import os
import tempfile
from pathlib import Path

from congrad.commands.terminal.options import AsJson
from congrad.commands.terminal.output import FAILED, WRONG, err, fail, out, print_json
from congrad.commands.terminal.signals import interrupt_on_signals
from congrad.errors import CongradError
from congrad.local.demo import print_demo, run_demo
from congrad.local.redis_server import StartError


def demo(as_json: AsJson = False) -> None:
    """Brings up everything on a tiny checkpoint, filters a small real batch, prints the table, stops."""
    interrupt_on_signals()
    try:
        descriptor, name = tempfile.mkstemp(prefix="congrad-demo-", suffix=".log")
    except OSError as error:  # a container that is read-only has no folder for it
        fail(f"no temporary file can be made ({error.strerror}); TMPDIR names a folder for them", WRONG)
    # Only the name is wanted: the parts open it by themselves.
    os.close(descriptor)
    log = Path(name)
    try:
        result = run_demo(err, log)
    except CongradError as error:
        fail(f"{error}{_where(log)}", WRONG if isinstance(error, StartError) else FAILED)
    log.unlink()
    if as_json:
        planted, clean = result.dropped(planted=True), result.dropped(planted=False)
        print_json(
            {
                "summary": result.answer.summary,
                "timing": result.answer.timing,
                "planted": {"pairs": planted[1], "dropped": planted[0]},
                "clean": {"pairs": clean[1], "dropped": clean[0]},
            }
        )
    else:
        print_demo(out, result)


def _where(log: Path) -> str:
    """The log, if there is something in it: without what the parts need none of them begins."""
    if log.stat().st_size:
        return f"\nthe whole log: {log}"
    log.unlink()
    return ""
