"""What the benchmark of scale makes of its measurements, and the worker that waits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped] # as the worker has it
import pytest
from congrad.contract import wire
from congrad_service.jobs.chunks import estimated_tokens

from benchmarks.processes import kill_half
from benchmarks.scale import PAIRS
from benchmarks.scale_runs import GPU_PAIRS, Answer, Cost, Idle, Killed, Run, limits
from benchmarks.scale_stack import request_body
from benchmarks.waiting_worker.engine import WaitingEngine, WaitingPair
from benchmarks.waiting_worker.settings import WaitingSettings


def run(batch: int, seconds: float) -> Run:
    """Three requests of a batch, on which the service spent so many seconds."""
    return Run(PAIRS.but(batch=batch), 1.0, [{"request_s": 1.0}] * 3, {"service": seconds})


def test_a_cost_is_the_line_through_the_batches() -> None:
    runs = [run(batch, 3 * (0.004 + 0.0005 * batch)) for batch in (16, 64, 256, 1024)]
    cost = Cost.of("service", runs)
    assert (cost.request_ms, cost.pair_ms) == pytest.approx((4.0, 0.5))
    assert cost.cores(rate=1000, batch=100) == pytest.approx(10 * 0.004 + 1000 * 0.0005)


def test_rates_are_of_pairs() -> None:
    measured = run(256, 1.5)
    assert measured.rate == 768
    assert measured.each("service") == 1.5 / 768


def test_the_next_limit_is_that_which_the_fewest_gpus_reach() -> None:
    spent = {"decide": 0.004 * 3, "Redis": 0.001 * 3, "bytes": 3 * 1e5}
    batches = [Run(PAIRS.but(batch=size), 1.0, [{}] * 3, {n: of * size for n, of in spent.items()}) for size in (1, 9)]
    idle = Idle(10, 2.0, {"Redis": 10 * 2 * 0.001}, worker_mib=1, start_cpu_s=1)
    decide, redis, network = limits(batches, batches[:1], idle)
    assert decide.gpus == pytest.approx(1 / (GPU_PAIRS * 0.004))
    assert redis.gpus == pytest.approx(1 / (GPU_PAIRS * 0.001 + 0.001))
    assert network.rate == pytest.approx(10e9 / 8e5)


def test_of_a_kill_the_rates_before_and_after_are_told_and_what_became_of_the_requests_under_way() -> None:
    answers = [Answer(0, 2), Answer(0, 2), Answer(2, 4), Answer(2, 9), Answer(5, 10)]
    killed = Killed(PAIRS.but(workers=2, batch=6, pair_ms=1000), 1, 3.0, answers, sent_again=1, sent_again_s=2.5)
    assert (killed.before, killed.after, killed.ideal_after) == (4, 18 / 7, 1)
    assert killed.caught == [Answer(2, 4), Answer(2, 9)]
    assert (killed.usual_s, killed.caught_s) == (2, 6)


def test_half_of_the_workers_are_killed_with_their_children() -> None:
    child = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    fork = f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in 'four']; input()"
    command = [sys.executable, "-c", fork, "half-of-them"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as parent:
        try:
            own = psutil.Process(parent.pid)
            while len(own.children(recursive=True)) < 8:
                pass
            assert kill_half("half-of-them") == 2
            psutil.wait_procs([one for one in own.children() if one.status() == psutil.STATUS_ZOMBIE], timeout=0)
            left = [one for one in own.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
            assert len(left) == 4
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_waiting_worker_is_light() -> None:
    """64 of them are to fit a small machine."""
    code = "import sys, benchmarks.waiting_worker.app; sys.exit('torch' in sys.modules)"
    environment = {
        **os.environ,
        "WAITING_PAIR_MS_FILE": "none",
        "WAITING_DIM": "64",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_a_waiting_worker_takes_as_long_as_its_pairs_and_hands_out_different_gradients(tmp_path: Path) -> None:
    pair_ms = tmp_path / "pair_ms"
    pair_ms.write_text("5")
    engine = WaitingEngine(WaitingSettings(pair_ms_file=pair_ms, dim=64))
    begun = time.monotonic()
    gradients = engine.compute([WaitingPair()] * 20)
    assert time.monotonic() - begun >= 0.1
    assert gradients.values.shape == (20, 64)
    assert len({row.tobytes() for row in gradients.values}) == 20


def test_requests_have_the_pairs_languages_and_lengths_that_are_asked_for() -> None:
    request = wire.FilterRequest.model_validate_json(request_body(PAIRS.but(languages=200, batch=400)))
    assert len(request.samples) == 400
    assert len({sample.language for sample in request.samples}) == 200
    assert {round(estimated_tokens(sample), -1) for sample in request.samples} == {500}
