"""Which certificates a connection trusts."""

import ssl


def trusted(base_url: str) -> ssl.SSLContext | bool:
    """What httpx is to verify a service's certificate by: as it does by itself, but that those of the authorities are
    not read where there is no certificate to verify, which takes longer than all else that a client begins with.

    Redirects are not followed, so that a service at ``http://`` is never one at ``https://``; if it were, nothing would
    be trusted.
    """
    return True if base_url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
