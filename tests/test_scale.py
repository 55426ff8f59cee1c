"""What the benchmark of scale makes of its measurements, and the worker that waits."""

import time
from pathlib import Path

import pytest
from congrad.contract import wire
from congrad_service.jobs.chunks import estimated_tokens

from benchmarks.scale import PAIRS, request_body
from benchmarks.scale_report import Cost, Run
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
