"""Preference pairs to test with."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from congrad.contract import wire
from congrad.local.demo import demo_pairs
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.pairs import EncodedPair

from support.models import DEMO_CHECKPOINT, checkpoint

FIELDS = ("id", "language", "prompt", "chosen", "rejected")


def demo_samples(*languages: str, each: int | None = None) -> list[dict[str, Any]]:
    """The shipped pairs of some languages (all of them if none is named), the first ``each`` of each."""
    by_language: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for pair in demo_pairs():
        by_language[pair["language"]].append({name: pair[name] for name in FIELDS})
    return [pair for tag in languages or sorted(by_language) for pair in by_language[tag][:each]]


def copies(count: int) -> list[dict[str, Any]]:
    """The shipped pairs so many times, all of them different."""
    rows = demo_samples()
    return [row | {"id": f"{i}-{row['id']}", "prompt": f"{i} {row['prompt']}"} for i in range(count) for row in rows]


def without_prompt(row: dict[str, Any]) -> dict[str, Any]:
    """The row as two conversations that have no turn in common: the service takes it, and no worker can encode it."""
    sides = {side: [{"role": "user", "content": f"{side}: {row[side]}"}] for side in ("chosen", "rejected")}
    return {name: value for name, value in row.items() if name != "prompt"} | sides


def samples(rows: list[dict[str, Any]]) -> list[wire.Sample]:
    """Rows as the service hands them to a worker."""
    return [wire.Sample.model_validate({name: row[name] for name in FIELDS}) for row in rows]


def file_rows(path: Path, each: int, languages: int | None = None) -> list[dict[str, Any]]:
    """The first ``each`` rows of each of the first ``languages`` languages of a file."""
    by_language: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            by_language[row["language"]].append(row)
    tags = sorted(by_language)[:languages]
    return [row for tag in tags for row in by_language[tag][:each]]


def encoded(rows: list[dict[str, Any]], model: Path = DEMO_CHECKPOINT) -> list[EncodedPair]:
    """Rows as token ids."""
    loaded = checkpoint(model)
    encoder = Encoder(loaded.tokenizer, loaded.max_length)
    return [encoder.encode(sample) for sample in samples(rows)]
