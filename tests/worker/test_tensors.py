"""Files as safetensors writes them are read as its own reader reads them, and nothing is copied."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from congrad_worker.tensors import views
from safetensors.numpy import load, save

ARRAYS: dict[str, np.ndarray] = {
    "units": np.arange(12, dtype=np.float16).reshape(3, 4),
    "norms": np.array([1, np.nan, -2], np.float32),
    "dots": np.linspace(0, 1, 6).reshape(2, 3),
    "scaled": np.arange(-5, 5, dtype=np.int8),
    "rest": np.frombuffer(b"{}", np.uint8),
    "none": np.zeros((0, 4), np.float16),
}


def test_arrays_are_those_that_were_written() -> None:
    content = save(ARRAYS, metadata={"about": "a file"})
    found, expected = views(content), load(content)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f")


def test_arrays_are_views_of_a_file_and_keep_it_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(save(ARRAYS))
    with path.open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    units = views(mapped)["units"]
    assert np.shares_memory(units, np.frombuffer(mapped, np.uint8))
    del mapped
    path.unlink()
    assert units.tolist() == ARRAYS["units"].tolist()
    with pytest.raises(ValueError, match="read-only"):
        units[0, 0] = 1


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", save(ARRAYS)[:-3]])
def test_half_a_file_is_none(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # whichever of the checks it is
        views(content)
