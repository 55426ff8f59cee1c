"""How pairs were scored so far, and how the epoch was drawn: kept beside each checkpoint of a trainer, so that what
resumes from it draws the rows that an uninterrupted run draws."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from congrad.integrations.trl.sampler import Drawn

NAME = "congrad.json"
"""In the folder of a checkpoint."""


@dataclass(frozen=True)
class Scored:
    """One scoring: after which step, against which checkpoint, and which rows of the trainer's dataset are kept. Where
    the policy could not be published there is no checkpoint, and all of them are."""

    step: int
    fingerprint: str | None
    keep: Sequence[bool]

    @property
    def kept(self) -> int:
        """How many."""
        return sum(self.keep)


@dataclass(frozen=True)
class Record:
    """A run up to a checkpoint.

    :param history: its scorings.
    :param length: of an epoch.
    :param drawn: how the epoch was drawn that the checkpoint was made in.
    """

    history: list[Scored]
    length: int
    drawn: Drawn

    def write(self, folder: Path) -> None:
        """Puts it into the folder of a checkpoint."""
        content = {
            "rows": len(self.history[-1].keep),
            "length": self.length,
            "history": [asdict(scored) | {"keep": _packed(scored.keep)} for scored in self.history],
            "epoch": self.drawn.epoch,
            "changes": [[at, _packed(keep)] for at, keep in self.drawn.changes],
        }
        (folder / NAME).write_text(json.dumps(content))

    @classmethod
    def read(cls, folder: Path, rows: int) -> Self | None:
        """What lies there; None where nothing does.

        :param rows: of the trainer's dataset.
        :raises ValueError: it is of another dataset.
        """
        if not (folder / NAME).exists():
            return None
        found: dict[str, Any] = json.loads((folder / NAME).read_text())
        if found["rows"] != rows:
            raise ValueError(f"{folder}: is of a dataset of {found['rows']} rows, and the trainer's has {rows}")
        history = [Scored(one["step"], one["fingerprint"], _unpacked(one["keep"], rows)) for one in found["history"]]
        changes = [(at, _unpacked(keep, rows)) for at, keep in found["changes"]]
        return cls(history, found["length"], Drawn(found["epoch"], changes))


def _packed(keep: Sequence[bool]) -> str:
    """A quarter of a letter for each row."""
    return f"{int('1' + ''.join(str(int(kept)) for kept in keep), 2):x}"


def _unpacked(text: str, rows: int) -> list[bool]:
    return [bit == "1" for bit in f"{int(text, 16):b}"[1 : rows + 1]]
