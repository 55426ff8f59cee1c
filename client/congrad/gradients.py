"""Gradients that jobs retain, read from the gradient store for an analysis of one's own: `load_gradients`.

It asks no service: whoever may read the store may read them. The store is the folder of ``CONGRAD_GRADIENT_STORE``,
with a folder for each job, and there a safetensors file for each chunk, whose names begin with its number.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from congrad.errors import CongradError
from congrad.jobs import JobLike, ids_of

if TYPE_CHECKING:
    import numpy as np

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Gradients:
    """The compressed gradients of some samples, in their order.

    ``units`` are their directions, float32 ``[n, D]`` with rows of length 1, or of zeros where there is no gradient;
    ``norms`` their lengths, float32 ``[n]``, of which those below 0 and those that are not finite are no lengths. Inner
    products of rows are those of the model's gradients, but for what compression costs.
    """

    ids: list[str]
    languages: list[str]
    units: "np.ndarray[Any, np.dtype[np.float32]]"
    norms: "np.ndarray[Any, np.dtype[np.float32]]"


def load_gradients(jobs: Iterable[JobLike] | JobLike, store: str | None = None) -> Iterator[Gradients]:
    """Reads what jobs retain, a chunk at a time, so that any number of samples can be gone through. Needs
    ``congrad-filter[gradients]`` (NumPy, safetensors, fsspec), and for a store elsewhere what fsspec names for it, such
    as s3fs.

    :param jobs: a job, or several, as `Filtered.retained` has them.
    :param store: its URL; default ``CONGRAD_GRADIENT_STORE``.
    :raises CongradError: a job has nothing there, or what reads it is not installed.
    """
    store = store or os.environ.get("CONGRAD_GRADIENT_STORE", "")
    if "://" not in store:
        raise ValueError(f"store is {store!r}; it should be the URL of a gradient store, such as file:///srv/congrad")
    return (chunk for job in ids_of(jobs) for chunk in _of_job(store.rstrip("/"), job))


def _of_job(store: str, job_id: str) -> Iterator[Gradients]:
    names, read = _folder(f"{store}/{job_id}")
    whole = sorted(name for name in names if name.endswith(SUFFIX))
    if not whole:
        raise CongradError(f"job {job_id} has no gradients in the gradient store: it retains none, or no longer")
    for _, same in groupby(whole, key=lambda name: name.partition("-")[0]):
        # Where a worker was slower than another at the same chunk, there are two that are the same but for rounding.
        yield _parsed(read(next(same)))


def _folder(url: str) -> tuple[list[str], Callable[[str], bytes]]:
    """The names of the files in a folder, and what reads one of them."""
    try:
        import fsspec
    except ImportError as error:
        raise CongradError("to read a gradient store: pip install 'congrad-filter[gradients]'") from error

    system, path = fsspec.core.url_to_fs(url)
    try:
        found = [str(name) for name in system.ls(path, detail=False)]
    except FileNotFoundError:
        found = []
    return [name.rpartition("/")[2] for name in found], lambda name: system.cat_file(f"{path}/{name}")


def _parsed(content: bytes) -> Gradients:
    import numpy as np
    from safetensors.numpy import load

    arrays = load(content)
    rest = json.loads(arrays["rest"].tobytes())
    units = arrays["units"].astype(np.float32)
    if "scales" in arrays:
        units *= arrays["scales"][:, None]
    return Gradients(rest["ids"], rest["languages"], units, arrays["norms"])
