"""Random numbers that depend on names only.

Every worker on every device must draw the same projection without talking to the others, so the generator is
counter-based (Philox) and keyed by a hash that is the same on every machine, which Python's own is not.
"""

import hashlib

import numpy as np


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator keyed by ``seed`` and ``names``: equal arguments give equal draws everywhere."""
    text = "\x1f".join(["congrad", str(seed), *map(str, names)])
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
