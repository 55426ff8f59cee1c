"""Which certificates a connection trusts."""

import os
import ssl


def trusted(base_url: str) -> ssl.SSLContext | bool:
    """What httpx is to verify a service's certificate by: as it does by itself, but that those of the authorities are
    not read where there is no certificate to verify, which takes longer than all else that a client begins with.

    Redirects are not followed, so that a service at ``http://`` is never one at ``https://``; if it were, nothing would
    be trusted.

    :raises ValueError: ``SSL_CERT_FILE`` names a file that holds no certificates: httpx would say that some file is not
        there, and not which.
    """
    if not base_url.startswith("https://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not (path := os.environ.get("SSL_CERT_FILE")):
        return True
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # those of ssl are among them
        raise ValueError(f"SSL_CERT_FILE is {path!r}, of which no certificate can be read: {error.strerror}") from None
