"""`make fuzz MINUTES=60`: rounds of the fuzz suites, each from a new seed that is printed, until the minutes are over
or one fails."""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FACTOR = "10"
"""Times as many examples as in `make test`; a round takes some minutes."""


def main() -> int:
    """The exit status of the last round."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("suites", nargs="*", help="such as api or directions; all of them if none is given")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, help="of the first round; drawn if it is not given")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    seeds = random.Random(options.seed)  # noqa: S311 # dice
    seed = options.seed if options.seed is not None else seeds.randrange(2**32)
    status = 0
    while status == 0 and time.monotonic() < end:
        status = round_of(options.suites, seed)
        seed = seeds.randrange(2**32)
    return status


def round_of(suites: Sequence[str], seed: int) -> int:
    """One run; pytest's exit status."""
    folder = Path(__file__).parent
    files = [str(folder / f"test_{suite}.py") for suite in suites] or [str(folder)]
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=3600", f"--hypothesis-seed={seed}", *files]
    print(f"FUZZ_FACTOR={FACTOR}", *command, flush=True)
    return subprocess.run(command, env=os.environ | {"FUZZ_FACTOR": FACTOR}).returncode


if __name__ == "__main__":
    sys.exit(main())
