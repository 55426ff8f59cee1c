"""Several gradients workers, one for each GPU, or as many as are asked for. One that ends is started again alone."""

import asyncio
import logging.config
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from congrad_service.observability import logs
from congrad_service.settings import LogFormat, RedisSettings
from pydantic import ValidationError

log = logging.getLogger(__name__)

WORKER = [sys.executable, "-m", "congrad_worker", "gradients"]

PAUSE_S = 5.0
"""Between the end of a worker and its next start: one that cannot start should not take the machine from the others."""

COUNT_GPUS = "import torch; print(torch.cuda.device_count())"


def run(wanted: str) -> int:
    """Runs ``wanted`` workers, or for ``auto`` one for each GPU that is visible, until a signal.

    :returns: the exit status: not 0 where all of them have ended by themselves. A single one takes the place of this
        process instead.
    """
    logging.config.dictConfig(logs.logging_config(_log_format()))
    gpus = visible_gpus()
    number = max(1, len(gpus)) if wanted == "auto" else int(wanted)
    if number == 1:
        os.execv(sys.executable, WORKER)  # noqa: S606 # as S603 in pyproject.toml
    return asyncio.run(Fleet([environment(worker, number, gpus) for worker in range(number)]).run())


def _log_format() -> LogFormat:
    """As the settings have it; a worker says what is wrong with them."""
    try:
        return RedisSettings().log_format
    except ValidationError:
        return "pretty"


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name. A process of its own counts them: torch would stay in this one for ever."""
    count = int(subprocess.run([sys.executable, "-c", COUNT_GPUS], stdout=subprocess.PIPE, check=True).stdout)
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def environment(worker: int, workers: int, gpus: Sequence[str]) -> dict[str, str]:
    """What one of several workers finds in its environment: an equal part of the GPUs or of the cores, and a port of
    its own for its metrics."""
    own = dict(os.environ)
    if (port := own.get("CONGRAD_METRICS_PORT", "")).isdecimal():  # of anything else the worker says what is wrong
        own["CONGRAD_METRICS_PORT"] = str(int(port) + worker)
    own.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin take the cores from the other workers
    if not gpus:
        own.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))
    elif workers > len(gpus):
        own["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
    else:
        part = gpus[worker * len(gpus) // workers : (worker + 1) * len(gpus) // workers]
        own["CUDA_VISIBLE_DEVICES"] = ",".join(part)
    return own


class Fleet:
    """Workers that are kept running, each in an environment of its own, until a signal.

    When all of them are down at once, it ends: whoever started it sees that nothing works, and what the workers said.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]):
        self._environments = environments
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._signalled = False

    async def run(self) -> int:
        """Until a signal, which is passed on, and then until all have ended; 0, or 1 if they did so by themselves."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        await asyncio.gather(*(self._keep(number) for number in range(len(self._environments))))
        return 0 if self._signalled else 1

    async def _keep(self, number: int) -> None:
        while not self._stopping.is_set():
            # A session of its own: Ctrl-C in a terminal reaches this process only, which passes it on.
            process = await asyncio.create_subprocess_exec(
                *WORKER, env=self._environments[number], start_new_session=True
            )
            self._running[number] = process
            if self._stopping.is_set():
                process.terminate()
            status = await process.wait()
            del self._running[number]
            if not self._running:
                self._stopping.set()
            if not self._stopping.is_set():
                log.warning("gradients worker %d ended with status %d and is started again", number, status)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), PAUSE_S)

    def _stop(self) -> None:
        self._signalled = True
        self._stopping.set()
        for process in self._running.values():
            with suppress(ProcessLookupError):  # it has just ended
                process.terminate()
