"""What stands before the service: HAProxy, which is told which pods there are, as a cluster tells its load balancers.
It tries nothing again, so that what a pod does not answer is a request that has failed."""

from support.cluster import haproxy
from support.cluster.pods import Pod
from support.containers import docker

SLOTS = 8
CONFIGURATION = """\
global
    stats socket /tmp/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    retries 0
frontend clients
    bind :80
    default_backend service
backend service
    balance roundrobin
"""
TELL = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as proxy:
    proxy.connect("/tmp/haproxy.sock")
    proxy.sendall(sys.argv[1].encode() + b"\\n")
    print(proxy.recv(4096).decode())
"""


class Ingress:
    """A running proxy; its `url` is this machine's."""

    def __init__(self, name: str, network: str, port: int):
        slots = "".join(f"    server {_slot(number)} 127.0.0.1:1 disabled\n" for number in range(SLOTS))
        self._name, self._behind = name, dict[int, Pod]()
        self.url = f"http://127.0.0.1:{port}"
        self.address = haproxy.run(name, network, f"{CONFIGURATION}{slots}", "--publish", f"127.0.0.1:{port}:80")

    def add(self, pod: Pod) -> None:
        """Sends requests there too from now on."""
        slot = next(number for number in range(SLOTS) if number not in self._behind)
        self._behind[slot] = pod
        self._tell(f"set server service/{_slot(slot)} addr {pod.address} port 8000")
        self._tell(f"set server service/{_slot(slot)} state ready")

    def remove(self, pod: Pod) -> None:
        """Sends no more requests there; those that it has are answered."""
        (slot,) = [number for number, behind in self._behind.items() if behind is pod]
        self._tell(f"set server service/{_slot(slot)} state maint")
        del self._behind[slot]

    def _tell(self, command: str) -> None:
        answer = docker("exec", self._name, "python3", "-c", TELL, command)
        assert not any(word in answer for word in ("No such", "nvalid", "nknown")), f"{command}: {answer}"


def _slot(number: int) -> str:
    return f"pod{number}"
