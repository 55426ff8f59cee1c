"""Past the proxies that the environment names (``HTTP_PROXY``, ``ALL_PROXY``) go connections to this machine, and to
the networks in ``NO_PROXY``, of which httpx knows names and single addresses only.

A proxy would look for the service on its own machine, and it would be shown the token.
"""

import os
from ipaddress import ip_address, ip_network
from urllib.request import getproxies

import httpx

from congrad.protocol.connections.certificates import trusted


def transport_for(base_url: str) -> httpx.HTTPTransport | None:
    """What a client of this service connects through, where that is past the proxies; None: what httpx takes by itself.

    A client that is given a transport does not read the proxies, of which httpx refuses some: one of SOCKS without a
    further package.
    """
    return httpx.HTTPTransport(verify=trusted(base_url)) if _is_past(base_url) else None


def async_transport_for(base_url: str) -> httpx.AsyncHTTPTransport | None:
    """`transport_for` an asynchronous one."""
    return httpx.AsyncHTTPTransport(verify=trusted(base_url)) if _is_past(base_url) else None


def proxy_for(base_url: str) -> str | None:
    """The proxy that a client of this service would go through, without what it is told of who asks."""
    url = httpx.URL(base_url)
    if _is_past(base_url) or any(url.host == name or url.host.endswith(f".{name}") for name in _without()):
        return None
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    return None if found is None or "*" in _without() else str(httpx.URL(found).copy_with(username=None, password=None))


def _is_past(base_url: str) -> bool:
    host = httpx.URL(base_url).host
    return is_this_machine(host) or _is_in_a_network_without(host)


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
