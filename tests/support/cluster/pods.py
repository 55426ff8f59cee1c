"""Pods: a container each, with what the manifests say of it, and the probes that a node makes.

Left out is what the engine has no word for: GPUs, the spread over nodes, the seccomp profile by that name (the engine's
own default is that of Kubernetes), and memory beyond this machine's.
"""

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from support.cluster.engine import CPU_SHARES, LABEL
from support.cluster.manifests import Cluster, Object, container_of, environment_of, pod_of
from support.cluster.policies import enforce
from support.containers import DOCKER, docker, inspect

GPU = "nvidia.com/gpu"

_numbers = itertools.count()


class Pod:
    """A running container of a Deployment.

    :param image: stands in for that of the registry.
    :param claims: folders of this machine, by the names of the claims that they stand in for.
    :param network: the engine's, with the namespaces' addresses in it (`policies.enforce`).
    """

    def __init__(
        self,
        cluster: Cluster,
        deployment: Object,
        image: str,
        claims: Mapping[str, Path],
        network: str,
        peers: Mapping[str, str],
    ):
        self._pod, self._container = pod_of(deployment), container_of(deployment)
        self.name = f"{deployment['metadata']['name']}-{os.getpid()}-{next(_numbers)}"
        self.image = image
        environment = environment_of(cluster, deployment)
        arguments = [
            *("--name", self.name, "--network", network, "--label", LABEL),
            *(f"--env={name}={value}" for name, value in environment.items()),
            *_security(self._pod, self._container),
            *_mounts(self._pod, self._container, claims),
            f"--cpu-shares={CPU_SHARES}",
        ]
        docker("run", "--detach", *arguments, image, *self._container["command"])
        state = inspect(self.name)
        self.address = str(state["NetworkSettings"]["Networks"][network]["IPAddress"])
        enforce(cluster, deployment, state["State"]["Pid"], peers)

    def wait_until_started(self) -> float:
        """Blocks until the startup probe has succeeded, and then the one of readiness; the seconds that it took.

        :raises AssertionError: the container has ended, or the startup probe has failed as often as it may.
        """
        begun, probe = time.monotonic(), self._container["startupProbe"]
        for _ in range(probe["failureThreshold"]):
            if self._succeeds(probe):
                break
            assert self.is_running, f"{self.name} has ended: {self.logs()[-2000:]}"
            time.sleep(probe["periodSeconds"])
        else:
            raise AssertionError(f"{self.name} has not started: {self.logs()[-2000:]}")
        while not self._succeeds(self._container["readinessProbe"]):
            time.sleep(1)
        return time.monotonic() - begun

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return bool(inspect(self.name)["State"]["Running"])

    def stop(self) -> float:
        """What a node does with a pod that is deleted: the hook, SIGTERM, and SIGKILL when the time is over; the
        seconds that it took.

        :raises AssertionError: it had to be killed.
        """
        begun, grace = time.monotonic(), self._pod["terminationGracePeriodSeconds"]
        pause = self._container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        time.sleep(pause)
        docker("stop", "-t", f"{grace - pause}", self.name)
        took, status = time.monotonic() - begun, inspect(self.name)["State"]["ExitCode"]
        assert status != 128 + 9, f"{self.name} was killed after {took:.0f} s: {self.logs()[-2000:]}"
        return took

    def execute(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs a command within."""
        return subprocess.run([DOCKER, "exec", self.name, *command], capture_output=True, text=True, timeout=timeout)

    def reaches(self, address: str, port: int) -> bool:
        """Whether a connection can be had from within."""
        code = f"import socket; socket.create_connection(({address!r}, {port}), 3)"
        return self.execute("python", "-c", code).returncode == 0

    def logs(self) -> str:
        """What it has written."""
        done = subprocess.run([DOCKER, "logs", self.name], capture_output=True, text=True)
        return done.stdout + done.stderr

    def _succeeds(self, probe: Mapping[str, Any]) -> bool:
        seconds = probe.get("timeoutSeconds", 1)
        if "httpGet" in probe:
            ports = {port["name"]: port["containerPort"] for port in self._container["ports"]}
            url = f"http://{self.address}:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
            try:
                return 200 <= httpx.get(url, timeout=seconds, trust_env=False).status_code < 400
            except httpx.TransportError:
                return False
        try:
            return self.execute(*probe["exec"]["command"], timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def _security(pod: Object, container: Object) -> list[str]:
    own, limits = container["securityContext"], container["resources"]["limits"]
    assert own["allowPrivilegeEscalation"] is False
    memory = min(_bytes(limits["memory"]), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    return [
        f"--user={pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}",
        *(f"--cap-drop={one}" for one in own["capabilities"]["drop"]),
        "--security-opt=no-new-privileges",
        *(["--read-only"] if own["readOnlyRootFilesystem"] else []),
        # With a shared process namespace, process 1 is the pod's own, which hands on signals.
        *(["--init"] if pod.get("shareProcessNamespace") else []),
        f"--memory={memory}",
        # On a CPU in its place, as in `docker-compose.yml`.
        *(["--env=OMP_WAIT_POLICY=PASSIVE"] if GPU in limits else []),
    ]


def _mounts(pod: Object, container: Object, claims: Mapping[str, Path]) -> list[str]:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    owner = f"uid={pod['securityContext']['runAsUser']},gid={pod['securityContext']['fsGroup']}"
    found = []
    for mount in container["volumeMounts"]:
        volume, target = volumes[mount["name"]], mount["mountPath"]
        if "emptyDir" in volume:
            found.append(f"--tmpfs={target}:size={_bytes(volume['emptyDir']['sizeLimit'])},mode=1777,{owner}")
        elif "persistentVolumeClaim" in volume:
            folder = claims[volume["persistentVolumeClaim"]["claimName"]]
            found.append(f"--volume={folder}:{target}{':ro' if mount['readOnly'] else ''}")
        else:
            assert volume["secret"]["optional"]  # a certificate, for a Redis with TLS
    return found


def _bytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi").removesuffix("Mi")) * (2**30 if quantity.endswith("Gi") else 2**20)


def together(pods: list[Pod]) -> None:
    """Blocks until all of some pods have started."""
    failures: list[BaseException] = []

    def wait(pod: Pod) -> None:
        try:
            pod.wait_until_started()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=wait, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
