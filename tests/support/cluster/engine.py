"""What all containers of the cluster have in common."""

from support.containers import inspect

CPU_SHARES = 64
"""Of the engine's 1,024: the machine has other work."""

LABEL = "congrad-cluster"


def address_of(container: str, network: str) -> str:
    """Its address in a network of the engine's."""
    return str(inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"])
