"""What is kept beside a trainer's checkpoints."""

from pathlib import Path

import pytest
from congrad.integrations.trl.record import Record, Scored
from congrad.integrations.trl.sampler import Drawn


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    for keep in ([False, False, True, False, True], [True] * 5, [False] * 5):
        record = Record([Scored(0, "a1", keep), Scored(3, None, [True] * 5)], 2, Drawn(1, [(0, keep), (7, [True] * 5)]))
        record.write(tmp_path)
        assert Record.read(tmp_path, 5) == record


def test_one_of_another_dataset_is_refused(tmp_path: Path) -> None:
    assert Record.read(tmp_path, 5) is None
    Record([Scored(0, "a1", [True] * 5)], 5, Drawn(0, [])).write(tmp_path)
    with pytest.raises(ValueError, match="is of a dataset of 5 rows, and the trainer's has 6"):
        Record.read(tmp_path, 6)
