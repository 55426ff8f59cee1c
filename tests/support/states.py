"""The metadata of a direction's exported state, as a service writes it."""

import json
from typing import Any

LANGUAGES = {tag: {"samples": 3, "weight": 2.5, "norm": 1.5} for tag in ("de", "fr")}
GEOMETRY: dict[str, Any] = {
    "norm": 1.0,
    "cosines_before": [[1, 0.5], [0.5, 1]],
    "cosines_after": [[1, 0.5], [0.5, 1]],
    "half_life": None,
    "aggregator": {"name": "pcgrad", "seed": 0},
    "weights": {"de": 0.5, "fr": 0.5},
}
METADATA = {
    "format_version": "1",
    "version": "7",
    "fingerprint": "f00d",
    "checkpoint": "policy",
    "created": "1.5",
    "updated": "2.5",
    "languages": json.dumps(LANGUAGES),
    "geometry": json.dumps(GEOMETRY),
}
