"""A process that has imported the `congrad` command, and forks each time that it is to be run.

Its import is most of what a command costs, and tests run many. What is forked then does what a fresh interpreter does:
it runs the package as a script, with arguments, environment, folder and streams of its own, and ends as it does.
"""

import gc
import json
import os
import runpy
import sys
from typing import Any


def serve() -> None:
    """Runs what each line of stdin asks for, until there are no more; the exit status of each is a line of stdout."""
    sys.path[0] = ""  # not this folder, whose modules have names that others may have
    import congrad.commands.app  # noqa: F401 # before the first fork

    gc.freeze()
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Ends by the exception with which a command ends its interpreter."""
    streams = ((os.devnull, os.O_RDONLY), (asked["stdout"], os.O_WRONLY), (asked["stderr"], os.O_WRONLY))
    for number, (path, flags) in enumerate(streams):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[0] = asked["folder"]
    sys.argv = ["congrad", *asked["arguments"]]
    runpy.run_module("congrad", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    serve()
