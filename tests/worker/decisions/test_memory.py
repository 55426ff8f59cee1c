"""Which pairs of a request a direction remembers."""

import numpy as np
from congrad_service.directions.remembered import PAIR
from congrad_worker.decisions.memory import Memory


def remembered(*hashes: bytes) -> bytes:
    """Buckets with these pairs."""
    entries = np.zeros(len(hashes), PAIR)
    entries["hash"] = np.frombuffer(b"".join(hashes), "V16")
    return entries.tobytes()


def test_a_pair_is_known_by_its_whole_hash_in_its_language_however_often_it_comes() -> None:
    one, other, alike = b"a" * 16, b"b" * 16, b"a" * 8 + b"c" * 8
    memory = Memory(packed={"de": remembered(other, one, alike), "fr": remembered(other)})
    pairs = [one, b"a" * 8 + b"d" * 8, None, one, alike, other, one]
    known = memory.known(pairs, ["de", "de", "de", "de", "de", "fr", "fr"])
    assert known.rows.tolist() == [True, False, False, True, True, True, False]
    assert known.places[known.rows].tolist() == [1, 1, 2, 0]
