"""Half precision made wider is what it was."""

import numpy as np
from congrad_worker.decisions.halves import Widened


def test_every_number_in_half_precision_stays_what_it_is() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    rows = finite.reshape(-1, 1024)  # 63,488 of them, subnormal ones and both zeros included
    widened = Widened(rows.shape[1])
    singles = widened.singles(rows)
    assert singles.dtype == np.float32
    assert (singles.view(np.uint32) == rows.astype(np.float32).view(np.uint32)).all()
    assert (widened.doubles(singles) == rows.astype(np.float64)).all()


def test_single_precision_is_left_as_it_is() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    assert (Widened(8).singles(rows) == rows).all()


def test_rows_that_do_not_lie_side_by_side_are_widened_too() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 16)).astype(np.float16)[::2, ::2]
    assert (Widened(8).singles(rows) == rows.astype(np.float32)).all()
