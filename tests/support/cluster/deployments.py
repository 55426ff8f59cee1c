"""Deployments: as many pods as are asked for, and a new image in the place of an old one, by Kubernetes's rules."""

import math
import threading
from collections.abc import Callable

from support.cluster.manifests import Object
from support.cluster.pods import Pod, together

ENDPOINTS_S = 2.0
"""What a load balancer takes to hear that a pod goes, which is told to go at the same time."""


class Deployment:
    """The pods of one.

    :param start: makes a pod of an image.
    :param joins: a pod has become ready.
    :param leaves: a pod was told to go `ENDPOINTS_S` ago.
    """

    def __init__(
        self,
        manifest: Object,
        image: str,
        start: Callable[[Object, str], Pod],
        joins: Callable[[Pod], None] | None = None,
        leaves: Callable[[Pod], None] | None = None,
    ):
        self._manifest, self._image, self._start = manifest, image, start
        self._joins, self._leaves = joins or _nobody_asks, leaves or _nobody_asks
        self.pods: list[Pod] = []
        self._ready: list[Pod] = []
        self._going: list[threading.Thread] = []

    def scale(self, replicas: int) -> None:
        """Starts what is missing, without waiting for it, and tells the youngest of those to go that are too many."""
        while len(self.pods) < replicas:
            self.pods.append(self._start(self._manifest, self._image))
        while len(self.pods) > replicas:
            self._going.append(threading.Thread(target=self._end, args=(self.pods.pop(),)))
            self._going[-1].start()

    def settle(self) -> None:
        """Blocks until all that were started are ready, and all that were told to go have gone."""
        self._join([pod for pod in self.pods if pod not in self._ready])
        self.rest()

    def rest(self) -> None:
        """Blocks until all that were told to go have gone."""
        for thread in self._going:
            thread.join()
        self._going.clear()

    def roll(self, image: str) -> None:
        """Puts another image in the place of that which runs: as many more pods as the manifest allows, and an old
        one is told to go when a new one is ready."""
        surge = self._surge(len(self.pods))
        self._image, old = image, list(self.pods)
        for first in range(0, len(old), surge):
            leaving = old[first : first + surge]
            new = [self._start(self._manifest, image) for _ in leaving]
            self._join(new)
            self.pods = [pod for pod in self.pods if pod not in leaving] + new
            for pod in leaving:
                self._end(pod)

    def _join(self, pods: list[Pod]) -> None:
        together(pods)
        for pod in pods:
            self._joins(pod)
        self._ready += pods

    def _surge(self, replicas: int) -> int:
        """How many more there may be; Kubernetes rounds them up, and those that may be missing down."""
        strategy = self._manifest["spec"].get("strategy", {}).get("rollingUpdate", {})
        assert math.floor(_part(strategy.get("maxUnavailable", "25%"), replicas)) == 0, "one may be missing"
        return math.ceil(_part(strategy.get("maxSurge", "25%"), replicas))

    def _end(self, pod: Pod) -> None:
        leaving = threading.Timer(ENDPOINTS_S, self._leaves, (pod,))
        leaving.start()
        pod.stop()
        leaving.join()


def _nobody_asks(_: Pod) -> None:
    """Workers are behind no load balancer."""


def _part(value: int | str, replicas: int) -> float:
    return int(value.removesuffix("%")) / 100 * replicas if isinstance(value, str) else value
