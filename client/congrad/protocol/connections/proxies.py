"""Past the proxies that the environment names (``HTTP_PROXY``, ``ALL_PROXY``) go connections to this machine, and to
the networks in ``NO_PROXY``, of which httpx knows names and single addresses only.

A proxy would look for the service on its own machine, and it would be shown the token.
"""

import os
from ipaddress import ip_address, ip_network
from urllib.request import getproxies

import httpx

PAST_PROXIES = {"http://": None, "https://": None}
"""httpx's mounts: no transport but the client's own."""


def mounts_for(base_url: str) -> dict[str, None]:
    """What a client of this service mounts."""
    host = httpx.URL(base_url).host
    return PAST_PROXIES if is_this_machine(host) or _is_in_a_network_without(host) else {}


def proxy_for(base_url: str) -> str | None:
    """The proxy that a client of this service would go through, without what it is told of who asks."""
    url = httpx.URL(base_url)
    if mounts_for(base_url) or any(url.host == name or url.host.endswith(f".{name}") for name in _without()):
        return None
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    return None if found is None or "*" in _without() else str(httpx.URL(found).copy_with(username=None, password=None))


def _without() -> list[str]:
    """What goes past proxies."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return [name.strip().removeprefix(".") for name in given.split(",") if name.strip()]


def _is_in_a_network_without(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    for name in _without():
        try:
            if "/" in name and address in ip_network(name, strict=False):
                return True
        except ValueError:  # no network
            continue
    return False


def is_this_machine(host: str) -> bool:
    """Whether a name or an address leads no further than to this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761
    return address.is_loopback or address.is_unspecified
