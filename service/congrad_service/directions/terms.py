"""What a direction begins with and keeps: its half-life and its aggregator. Free of HTTP: the workers look again when a
job is decided."""

import json
from dataclasses import dataclass

from congrad.contract.wire import INFINITY


@dataclass(frozen=True)
class Terms:
    """``half_life`` in samples of a language, `inf` where all count alike; ``aggregator`` by its name."""

    half_life: float
    aggregator: str

    @classmethod
    def of(cls, geometry: str | bytes) -> "Terms":
        """Those of a direction that there is, from the JSON that it is shown from."""
        shown = json.loads(geometry)
        half_life = shown["half_life"]
        return cls(float(INFINITY) if half_life is None else half_life, str(shown["aggregator"].get("name", "")))

    def conflict(self, name: str, half_life: float | None, aggregator: str | None, update: bool) -> str | None:
        """Why a request that asks for others cannot be served by direction ``name``; None where it can be: without an
        update, any aggregator will do."""
        if half_life not in (None, self.half_life):
            return f"direction {name!r} began with a half-life of {self.half_life:g}, not {half_life:g}; {_REMEDY}"
        if update and aggregator not in (None, self.aggregator):
            return (
                f"direction {name!r} began with the aggregator {self.aggregator}, not {aggregator}; score under "
                f"another with 'update': false, or {_REMEDY}"
            )
        return None


_REMEDY = "reset it, or begin another"
