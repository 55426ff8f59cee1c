"""A container with HAProxy, and its configuration."""

from functools import cache

from support.cluster.engine import CPU_SHARES, LABEL, address_of
from support.containers import docker, docker_build

IMAGE = "congrad-test-haproxy"
DOCKERFILE = """\
FROM python:3.11-slim-bookworm
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
CMD ["sh", "-c", "printf '%s\\\\n' \\"$CONFIGURATION\\" > /tmp/haproxy.cfg && exec haproxy -db -f /tmp/haproxy.cfg"]
"""


def run(name: str, network: str, configuration: str, *arguments: str) -> str:
    """Starts one; its address in the network."""
    _build()
    place = ("--name", name, "--network", network, "--label", LABEL, f"--cpu-shares={CPU_SHARES}")
    docker("run", "--detach", *place, *arguments, f"--env=CONFIGURATION={configuration}", IMAGE)
    return address_of(name, network)


@cache
def _build() -> None:
    docker_build(IMAGE, DOCKERFILE)
