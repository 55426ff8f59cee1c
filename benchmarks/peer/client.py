"""bergson as an arm: its environment, its process, and what is said to it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from congrad_worker.checkpoints.pairs import EncodedPair

from benchmarks.arms import Work

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "build" / "bergson-venv"
LOG = ROOT / "build" / "bergson.log"
PINNED = ("torch", "transformers")
"""What both environments must have alike, so that only the collectors differ."""


class PeerError(RuntimeError):
    """The other library cannot be installed, or its process has failed."""


def install() -> Path:
    """bergson's environment, made where there is none yet.

    :returns: its Python.
    :raises PeerError: it cannot be made on this machine.
    """
    python, done = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".installed"
    if not done.exists():
        pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.split("==")[0] in PINNED]
        _call([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
        _call([str(python), "-m", "pip", "install", "-q", *pins, "bergson>=2.5"])
        if not torch.cuda.is_available():
            # They come along as dependencies of dependencies, in builds that do not fit torch's for a CPU.
            _call([str(python), "-m", "pip", "uninstall", "-q", "-y", "torchvision", "torchaudio"])
        done.touch()
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise PeerError(f"bergson cannot be installed: {lines[-1]}")


class BergsonArm:
    """A process with bergson's collector. It waits without using the processor while other arms run."""

    key = "bergson"

    def __init__(self, folder: Path, targets: Sequence[str], device: torch.device, beta: float, threads: int):
        """Loads the model in ``folder``.

        :raises PeerError: there is no bergson here.
        """
        python = install()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        LOG.parent.mkdir(exist_ok=True)
        with LOG.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.peer.bergson_arm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        self._work: Work | None = None
        self.about = self._ask(
            folder=str(folder), targets=list(targets), device=str(device), beta=beta, threads=threads
        )
        self.label = f"bergson {self.about['version']} with the DPO loss"
        self.state_bytes: int = self.about["state_bytes"]

    def seconds(self, work: Work) -> float:
        self._use(work)
        return float(self._ask(do="seconds")["seconds"])

    def peak_bytes(self, work: Work) -> int:
        self._use(work)
        return int(self._ask(do="peak")["peak_bytes"])

    def whole_gradients(self, pairs: Sequence[EncodedPair], folder: Path) -> np.ndarray:
        """Its gradients with its projection off: float32 ``[pairs, parameters]``."""
        file = folder / "bergson.npy"
        self._ask(do="whole", pairs=[_ids(pair) for pair in pairs], file=str(file))
        gradients: np.ndarray = np.load(file)
        return gradients

    def _use(self, work: Work) -> None:
        if work is not self._work:
            self._ask(do="use", batches=[[_ids(pair) for pair in batch] for batch in work.batches])
            self._work = work

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(command), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            lines = LOG.read_text().strip().splitlines() or ["no message"]
            raise PeerError(f"bergson's process has ended: {lines[-1]} (more in {LOG.relative_to(ROOT)})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # where it has ended before
            self._process.stdin.close()
        self._process.wait()


def _ids(pair: EncodedPair) -> list[list[int]]:
    return [pair.prompt_ids, pair.chosen_ids, pair.rejected_ids]
