"""The queries of what is deployed for Prometheus and Grafana."""

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped] # no stubs here

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "congrad.json"


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard that show something."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries(interval: str) -> list[tuple[str, str]]:
    """Titles of panels, and their queries as Grafana sends them.

    :param interval: what Grafana takes rates over.
    """
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", interval))
        for panel in panels()
        for target in panel["targets"]
    ]


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]
