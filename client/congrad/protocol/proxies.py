"""Past the proxies that the environment names (``HTTP_PROXY``, ``ALL_PROXY``) go connections to this machine.

A proxy would look for the service on its own machine, and it would be shown the token.
"""

from ipaddress import ip_address

import httpx

PAST_PROXIES = {"http://": None, "https://": None}
"""httpx's mounts: no transport but the client's own."""


def mounts_for(base_url: str) -> dict[str, None]:
    """What a client of this service mounts."""
    return PAST_PROXIES if is_this_machine(httpx.URL(base_url).host) else {}


def is_this_machine(host: str) -> bool:
    """Whether a name or an address leads no further than to this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761
    return address.is_loopback or address.is_unspecified
