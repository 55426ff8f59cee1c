"""A Redis that fails over: two of them, a Sentinel that says which one is the master, and the HAProxy of
`docs/operations.md` before them, whose address follows it."""

import re
from pathlib import Path

from support.cluster import haproxy
from support.cluster.engine import CPU_SHARES, LABEL, address_of
from support.containers import REDIS_IMAGE, docker

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
SENTINEL = """\
port 26379
sentinel monitor congrad {master} 6379 1
sentinel auth-user congrad congrad
sentinel auth-pass congrad {password}
sentinel down-after-milliseconds congrad 2000
sentinel failover-timeout congrad 10000
"""


class FailoverRedis:
    """:param host: the name that its address has in the network.
    :param password: of the user `congrad`.
    """

    def __init__(self, name: str, network: str, host: str, password: str):
        self._name, self._network, self._password = name, network, password
        master = self._server("a", "")
        self._server("b", f"replicaof {master} 6379")
        self._run("sentinel", SENTINEL.format(master=master, password=password), "--sentinel")
        self.address = haproxy.run(f"{name}-redis", network, self._configuration(), "--network-alias", host)
        self._host = host

    def cli(self, *command: str) -> str:
        """What the master answers."""
        user = ("--no-auth-warning", "--user", "congrad", "-a", self._password)
        return docker("exec", f"{self._name}-sentinel", "redis-cli", "-h", self._host, *user, *command)

    @property
    def master(self) -> str:
        """The address that Sentinel tells."""
        asked = ("redis-cli", "-p", "26379", "sentinel", "get-master-addr-by-name", "congrad")
        return docker("exec", f"{self._name}-sentinel", *asked).splitlines()[0]

    def kill_master(self) -> None:
        """At once, and for good."""
        (name,) = [one for one in (f"{self._name}-a", f"{self._name}-b") if self._address(one) == self.master]
        docker("kill", name)

    def _server(self, which: str, more: str) -> str:
        own = (
            f"user congrad on >{self._password} ~* &* +@all\nmasteruser congrad\nmasterauth {self._password}\n{more}\n"
        )
        always = ("--protected-mode no", "--appendonly yes", "--maxmemory-policy noeviction", "--save ''")
        self._run(which, own, *always)
        return self._address(f"{self._name}-{which}")

    def _address(self, container: str) -> str:
        return address_of(container, self._network)

    def _run(self, which: str, configuration: str, *arguments: str) -> None:
        """A server with a file of its own, which a Sentinel writes to."""
        started = f"exec redis-server /tmp/redis.conf {' '.join(arguments)}"
        command = f"printf '%s' \"$CONFIGURATION\" > /tmp/redis.conf && {started}"
        place = ("--name", f"{self._name}-{which}", "--network", self._network, "--label", LABEL)
        limits = (f"--cpu-shares={CPU_SHARES}", f"--env=CONFIGURATION={configuration}")
        docker("run", "--detach", *place, *limits, REDIS_IMAGE, "sh", "-c", command)

    def _configuration(self) -> str:
        """As the page has it, with the names of these two."""
        (found,) = re.findall(r"```text\n(defaults\n.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
        configuration: str = found.replace("PASSWORD", self._password)
        for which in ("a", "b"):
            configuration = configuration.replace(f"redis-{which}.example", self._address(f"{self._name}-{which}"))
        return configuration
