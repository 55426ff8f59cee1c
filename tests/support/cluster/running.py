"""The whole of it, running: Redis, the proxy, and the Deployments of both examples."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from congrad.local.redis_server import free_port

from support.cluster.deployments import Deployment
from support.cluster.engine import LABEL
from support.cluster.failover import FailoverRedis
from support.cluster.ingress import Ingress
from support.cluster.manifests import Cluster, container_of, filled_in
from support.cluster.pods import Pod
from support.cluster.policies import NODE
from support.containers import docker, inspect

REGISTRY = "registry.example/"
IMAGES = {"congrad-service": "congrad-service", "congrad-worker": "congrad-worker:cpu"}
"""The images of this machine, for those of the registry."""

REDIS = "redis.example"
PASSWORD = "PASSWORD"
CLIENTS = "congrad-clients"


class RunningCluster:
    """:param checkpoint: the folder of one, which the example knows as `/models/round-1`.
    :param most: gradients workers, as an overlay would have it: this machine has two cores.
    """

    def __init__(self, checkpoint: Path, most: int):
        self._name = f"congrad-{os.getpid()}"
        docker("network", "create", "--label", LABEL, self._name)
        (network,) = inspect(self._name)["IPAM"]["Config"]
        self.redis = FailoverRedis(self._name, self._name, REDIS, PASSWORD)
        self.cluster = self._manifests(most)
        self._claims = {"congrad-models": checkpoint}
        self.ingress = Ingress(f"{self._name}-ingress", self._name, free_port())
        self._peers = {NODE: network["Gateway"], CLIENTS: self.ingress.address}
        self.service = self._deployment("service", self.ingress.add, self.ingress.remove)
        self.decide = self._deployment("decide")
        self.gradients = self._deployment("gradients")

    def _manifests(self, most: int) -> Cluster:
        """The examples, with what their README has a user fill in."""
        return filled_in(
            {
                "10.20.30.40/32": f"{self.redis.address}/32",
                # No certificate here; the README says what to leave out then.
                f"rediss://congrad:{PASSWORD}@{REDIS}:6379/0?ssl_ca_certs=/etc/congrad/redis/ca.crt": (
                    f"redis://congrad:{PASSWORD}@{REDIS}:6379/0"
                ),
                "CONGRAD_DTYPE=bfloat16": "CONGRAD_DTYPE=float32",
                "CONGRAD_DEVICE=cuda": "CONGRAD_DEVICE=cpu",
                "        value: congrad:work:0123456789abcdef": (
                    "        value: congrad:work:0123456789abcdef\n      - op: replace\n"
                    f"        path: /spec/maxReplicaCount\n        value: {most}"
                ),
            }
        )

    def _deployment(self, component: str, *hooks: Callable[[Pod], None]) -> Deployment:
        manifest = self.cluster.deployment(component)
        image = container_of(manifest)["image"].removeprefix(REGISTRY).partition(":")[0]
        return Deployment(manifest, IMAGES[image], self._start, *hooks)

    def _start(self, manifest: dict[str, object], image: str) -> Pod:
        return Pod(self.cluster, manifest, image, self._claims, self._name, self._peers)

    def stranger_reaches(self, address: str, port: int) -> bool:
        """Whether somebody in the same network, whom no policy names, gets a connection."""
        code = f"import socket; socket.create_connection(({address!r}, {port}), 3)"
        tried = ("run", "--rm", "--network", self._name, IMAGES["congrad-service"], "python", "-c", code)
        try:
            docker(*tried)
        except AssertionError:
            return False
        return True

    @property
    def api_key(self) -> str:
        """The token that may do everything."""
        return self.cluster.secret("congrad-api", "api-key")

    def remove(self) -> None:
        """All containers, and the network."""
        found = docker("ps", "--all", "--quiet", f"--filter=network={self._name}").split()
        if found:
            docker("rm", "--force", "--volumes", *found)
        docker("network", "rm", self._name)


@contextmanager
def running_cluster(checkpoint: Path, most: int) -> Iterator[RunningCluster]:
    """With two replicas of the service, two decide workers and one gradients worker, all of them ready."""
    running = RunningCluster(checkpoint, most)
    try:
        for deployment, replicas in ((running.service, 2), (running.decide, 2), (running.gradients, 1)):
            deployment.scale(replicas)
        for deployment in (running.service, running.decide, running.gradients):
            deployment.settle()
        yield running
    finally:
        running.remove()
