"""Arrays of a safetensors file as views of it. The library's own reader copies each, into memory that is new each time:
of a file that is in the page cache that costs more than the products of all that is in it."""

import json
from math import prod

import numpy as np

DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "<i1", "U8": "<u1"}
"""Of safetensors, those that are written here, and NumPy's names for them."""

LENGTH = 8
"""Bytes at the beginning that say how long the header is."""


def views(content: bytes | memoryview) -> dict[str, np.ndarray]:
    """The arrays by name, which cannot be written to, and live as long as the content does.

    :raises ValueError: it is no such file.
    """
    raw = memoryview(content)
    begin = LENGTH + int.from_bytes(raw[:LENGTH], "little")
    if len(raw) < begin:
        raise ValueError(f"{len(raw)} bytes are no safetensors: the header would end at {begin}")
    header = json.loads(bytes(raw[LENGTH:begin]))
    header.pop("__metadata__", None)
    return {name: _view(raw[begin:], **about) for name, about in header.items()}


def _view(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    first, end = data_offsets
    found = np.frombuffer(data[first:end], DTYPES[dtype])
    if len(found) != prod(shape):
        raise ValueError(f"a tensor of shape {shape} has {len(found)} numbers")
    return found.reshape(shape)
