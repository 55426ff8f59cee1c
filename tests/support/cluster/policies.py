"""Network policies, as a plugin of a cluster enforces them: rules of the packet filter in a pod's own network, which
the pod has no right to change.

A packet is taken if a policy that is about the pod lets it in or out, or if it belongs to a connection that was let.
What comes from the node is let in, as Kubernetes has it for probes. Names are resolved by the engine within the pod, so
that the rule for DNS has nothing to do.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence

from support.cluster.manifests import Cluster, Object, component_of, container_of

NODE = "node"


def enforce(cluster: Cluster, deployment: Object, process: int, peers: Mapping[str, str]) -> None:
    """Shuts a pod in.

    :param process: one of its own.
    :param peers: addresses of others, or networks of them, by the label of their namespace: that is how policies name
        them; and the node's.
    """
    rules = "\n".join(
        [
            "*filter",
            *(f":{chain} DROP [0:0]" for chain in ("INPUT", "FORWARD", "OUTPUT")),
            "-A INPUT -i lo -j ACCEPT",
            "-A OUTPUT -o lo -j ACCEPT",
            *(f"-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT" for chain in ("INPUT", "OUTPUT")),
            f"-A INPUT -s {peers[NODE]} -j ACCEPT",
            *_allowed(cluster, deployment, peers),
            "COMMIT\n",
        ]
    )
    command = ["nsenter", f"--target={process}", "--net", "iptables-restore", "--wait", "--noflush"]
    done = subprocess.run(command, input=rules, capture_output=True, text=True)
    assert done.returncode == 0, f"{rules}: {done.stderr}"


def _allowed(cluster: Cluster, deployment: Object, peers: Mapping[str, str]) -> Iterator[str]:
    ports = {port["name"]: port["containerPort"] for port in container_of(deployment)["ports"]}
    for way, chain, side, key in (("Ingress", "INPUT", "-s", "from"), ("Egress", "OUTPUT", "-d", "to")):
        for rule in cluster.rules(component_of(deployment), way):
            for address in _addresses(rule[key], peers):
                for port in rule["ports"]:
                    number = str(ports.get(port["port"], port["port"]))
                    yield f"-A {chain} {side} {address} -p {port['protocol'].lower()} --dport {number} -j ACCEPT"


def _addresses(named: Sequence[Object], peers: Mapping[str, str]) -> Iterator[str]:
    for peer in named:
        if "ipBlock" in peer:
            yield peer["ipBlock"]["cidr"]
        else:
            (label,) = peer["namespaceSelector"]["matchLabels"]
            if label in peers:
                yield peers[label]
