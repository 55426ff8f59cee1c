"""What KEDA and the HorizontalPodAutoscaler behind it make of a number, by the rules that both document, on a clock of
the test's.

KEDA moves between none and one, and the autoscaler from one on: https://keda.sh/docs/2.14/reference/scaledobject-spec,
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SYNC_S = 15
"""Between two looks of the autoscaler."""

TOLERANCE = 0.1
"""Of the ratio to its target, within which the autoscaler does nothing."""


@dataclass
class Autoscaler:
    """Replicas of one ScaledObject with one trigger, whose metric is an average for each replica.

    :param spec: its ``spec``.
    """

    spec: Mapping[str, Any]
    replicas: int = 0
    _now: float = 0.0
    _last_active: float = -math.inf
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    @property
    def target(self) -> int:
        """Of the metric, for each replica."""
        return int(self.spec["triggers"][0]["metadata"]["listLength"])

    def at(self, now: float, metric: int) -> int:
        """The replicas from a time on, where the metric is such; called in steps of `SYNC_S`."""
        self._now = now
        if now % self.spec["pollingInterval"] == 0:
            self._poll(metric)
        if self.replicas:
            self._sync(metric)
        return self.replicas

    def _poll(self, metric: int) -> None:
        """KEDA's part."""
        if metric > 0:
            self._last_active = self._now
            if self.replicas == 0:
                self._set(max(1, self.spec["minReplicaCount"]))
        elif self.spec["minReplicaCount"] == 0 and self._now - self._last_active > self.spec["cooldownPeriod"]:
            self._set(0)

    def _sync(self, metric: int) -> None:
        """The autoscaler's part."""
        ratio = metric / self.replicas / self.target
        wanted = self.replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(metric / self.target)
        wanted = min(max(wanted, self.spec["minReplicaCount"], 1), self.spec["maxReplicaCount"])
        if not self._wanted:
            self._wanted.append((self._now, self.replicas))
        self._wanted.append((self._now, wanted))
        # Up to the least that was wanted for a while, and down to the most: what comes and goes moves nothing.
        up, down = min(self._window("scaleUp", 0)), max(self._window("scaleDown", 300))
        stable = min(max(self.replicas, up), down)
        self._set(max(stable, self.replicas - self._allowed()) if stable < self.replicas else stable)

    def _window(self, way: str, default: int) -> list[int]:
        seconds = self._rules(way).get("stabilizationWindowSeconds", default)
        return [wanted for at, wanted in self._wanted if at >= self._now - seconds]

    def _allowed(self) -> int:
        """How many replicas may go now."""
        allowed: list[int] = []
        for policy in self._rules("scaleDown")["policies"]:
            assert policy["type"] == "Pods"
            gone = [count for at, count in self._changes if at > self._now - policy["periodSeconds"] and count < 0]
            allowed.append(max(policy["value"] + sum(gone), 0))
        return max(allowed)

    def _rules(self, way: str) -> Mapping[str, Any]:
        rules: Mapping[str, Any] = self.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"][way]
        return rules

    def _set(self, replicas: int) -> None:
        if replicas != self.replicas:
            self._changes.append((self._now, replicas - self.replicas))
            self.replicas = replicas
            if not replicas:
                self._wanted.clear()  # an autoscaler of none does nothing, and begins anew
