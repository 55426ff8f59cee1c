"""Whether the promise was kept: nothing lost, nothing doubled, and the directions those of a run without faults."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
from safetensors.numpy import load

from chaos.load import Sent

Commits = Mapping[str, Sequence[Sent]]
"""By direction, the requests in the order in which they were folded in."""

Pair = tuple[str, str]
"""The language and the prompt, which no two pairs have in common."""

Vectors = Mapping[str, Mapping[str, np.ndarray]]
"""By direction and the name of the vector in an exported state."""


def lost(sent: Iterable[Sent]) -> list[str]:
    """The accepted jobs that did not succeed, and what has become of each."""
    return [
        f"job {one.job_id}: {one.job['status'] + ': ' + str(one.job['error']) if one.job else 'has not ended'}"
        for one in sent
        if one.job_id is not None and (one.job is None or one.job["status"] != "succeeded")
    ]


def unfulfilled(http: httpx.Client, sent: Iterable[Sent]) -> list[str]:
    """The jobs whose answer is no longer what the client was told, now that all is over."""
    wrong = []
    for one in sent:
        if one.job is not None:
            response = http.get(f"/jobs/{one.job_id}")
            if response.status_code != 200 or response.json() != one.job:
                wrong.append(f"job {one.job_id} has another answer by now: {response.text}")
    return wrong


def unrescorable(http: httpx.Client, sent: Iterable[Sent]) -> list[str]:
    """The jobs whose gradients were to be kept, and are not all there: they cannot be scored again."""
    wrong = []
    for one in sent:
        if one.request.retain and one.job is not None and one.job["status"] == "succeeded":
            response = http.post(f"/jobs/{one.job_id}/rescore", json={"retain": True}, headers={"Prefer": "wait=60"})
            decided = [pair["id"] for pair in response.json().get("decisions", ())]
            if decided != [sample["id"] for sample in one.request.samples]:
                wrong.append(f"job {one.job_id} cannot be scored again: {response.text}")
    return wrong


def commits(sent: Iterable[Sent]) -> Commits:
    """The jobs that brought a new pair, by direction and in the order of its versions."""
    found: defaultdict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        if _new_pairs(one):
            found[one.request.direction].append(one)
    return {name: sorted(ones, key=_version) for name, ones in sorted(found.items())}


def _version(one: Sent) -> int:
    assert one.job is not None
    version: int = one.job["result"]["direction"]["version"]
    return version


def _pairs(one: Sent) -> list[Pair]:
    return [(sample["language"], sample["prompt"]) for sample in one.request.samples]  # prompts have numbers


def _new_pairs(one: Sent) -> list[Pair]:
    """The pairs of a job that its answer says were new to the direction."""
    if one.job is None or one.job["status"] != "succeeded":
        return []
    decisions = one.job["result"]["decisions"]
    return [pair for pair, decision in zip(_pairs(one), decisions, strict=True) if not decision["repeated"]]


def repeats(sent: Iterable[Sent]) -> int:
    """How many pairs came again."""
    return sum(len(_pairs(one)) - len(_new_pairs(one)) for one in sent if one.job and one.job["status"] == "succeeded")


def doubled(http: httpx.Client, sent: Sequence[Sent], committed: Commits) -> list[str]:
    """Where a direction has not every pair exactly once that was accepted for it, and a version for each job that
    brought any."""
    wrong = []
    posted: defaultdict[str, set[Pair]] = defaultdict(set)
    for one in sent:
        if one.job is not None and one.job["status"] == "succeeded":
            posted[one.request.direction] |= {*_pairs(one)}
    for name, ones in committed.items():
        direction = http.get(f"/directions/{name}").raise_for_status().json()
        folded = {tag: language["samples"] for tag, language in direction["languages"].items()}
        expected = Counter(language for language, _ in posted[name])
        new = Counter(pair for one in ones for pair in _new_pairs(one))
        wrong += [f"direction {name} took {pair} for new {times} times" for pair, times in new.items() if times > 1]
        if folded != expected:
            wrong.append(f"direction {name} has {folded} samples, and {dict(expected)} were accepted")
        if [_version(one) for one in ones] != list(range(1, len(ones) + 1)) or direction["version"] != len(ones):
            versions = Counter(map(_version, ones))
            twice = [version for version, count in versions.items() if count > 1]
            wrong.append(
                f"direction {name} has version {direction['version']} after {len(ones)} jobs; twice: {twice}; "
                f"missing: {sorted(set(range(1, len(ones) + 1)) - versions.keys())}"
            )
    return wrong


def export(http: httpx.Client, names: Iterable[str]) -> Vectors:
    """The vectors of directions."""
    return {name: load(http.get(f"/directions/{name}/state").raise_for_status().content) for name in names}


def replay(http: httpx.Client, committed: Commits) -> None:
    """Folds the same requests in again, each direction's one after the other."""

    def one_direction(ones: Sequence[Sent]) -> None:
        for one in ones:
            answer = http.post("/filter", json=one.request.body, headers={"Prefer": "wait=60"}).raise_for_status()
            assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(max(len(committed), 1)) as pool:
        list(pool.map(one_direction, committed.values()))


ROUNDING = 2**-10
"""What the company of other requests in a batch may do to the entries of a vector, relative to the largest: which
share one is chance. It moves a float32 in its last places, and gradients wait in Redis in half precision, where that is
one step to the next number or none. A pair too many or too few shows in the counts."""


def different(found: Vectors, truth: Vectors) -> list[str]:
    """The vectors that are not the same, but for rounding."""
    wrong = []
    for name, vectors in truth.items():
        if found[name].keys() != vectors.keys():
            wrong.append(f"direction {name} has {sorted(found[name])}, and without faults {sorted(vectors)}")
            continue
        for key, vector in vectors.items():
            same_shape = found[name][key].shape == vector.shape
            gap = np.abs(found[name][key] - vector).max(initial=0) if same_shape else np.inf
            if not gap <= ROUNDING * np.abs(vector).max(initial=0):
                wrong.append(f"direction {name}: {key} differs by up to {gap:.3g}")
    return wrong
