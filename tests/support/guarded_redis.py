"""A real Redis as it is run in earnest: a user with the rights that the docs give it, reached through TLS."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from congrad.local.redis_server import configure, free_port
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from support import tls_proxy as tls_proxy_script

DOCUMENTED = Path(__file__).parents[2] / "docs" / "security.md"

PASSWORD = "p/ss:w@rd-marker"
QUOTED = "p%2Fss%3Aw%40rd-marker"


@dataclass(frozen=True)
class GuardedRedis:
    """``url`` is for the parts; with ``admin`` the test looks at what they did, past TLS."""

    url: str
    admin: redis.Redis
    log: Path
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Certificates:
    """An authority's certificate, and the key and certificate of a server that it vouches for."""

    authority: Path
    key: Path
    certificate: Path


def documented_rules() -> str:
    """What the docs say that the user needs."""
    found = re.search(r"^user congrad on >PASSWORD (.*)$", DOCUMENTED.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def make_certificates(folder: Path, address: str = "127.0.0.1") -> Certificates:
    """New ones for a server at ``address``."""
    folder.mkdir(exist_ok=True)
    made = Certificates(folder / "ca.pem", folder / "key.pem", folder / "cert.pem")
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    ca_key = str(folder / "ca.key")
    _run(*new, "-subj", "/CN=authority", "-keyout", ca_key, "-out", str(made.authority))
    signed = ("-CA", str(made.authority), "-CAkey", ca_key, "-addext", f"subjectAltName=IP:{address}")
    leaf = ("-addext", "basicConstraints=critical,CA:FALSE")
    _run(*new, "-subj", "/CN=server", "-keyout", str(made.key), "-out", str(made.certificate), *signed, *leaf)
    return made


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def guarded_redis(folder: Path) -> Iterator[GuardedRedis]:
    """Starts it; ``folder`` is for its files."""
    port = free_port()
    config = configure(folder, port)
    file = Path(config.command[1])
    settings = re.sub("^requirepass .*$", "", file.read_text(), flags=re.MULTILINE)
    users = f"user default off\nuser admin on >admin ~* &* +@all\nuser congrad on >{PASSWORD} {documented_rules()}\n"
    file.write_text(settings + users)
    certificates = make_certificates(folder / "tls")
    process = subprocess.Popen(config.command)
    patient = Retry(ConstantBackoff(0.05), 200)  # nothing tells when a socket opens
    admin = redis.Redis.from_url(f"redis://admin:admin@127.0.0.1:{port}/0", retry=patient)
    try:
        admin.ping()
        with tls_proxy(certificates, port) as tls_port:
            query = f"ssl_ca_certs={certificates.authority}"
            url = f"rediss://congrad:{QUOTED}@127.0.0.1:{tls_port}/0?{query}"
            yield GuardedRedis(url, admin, folder / "redis.log", process)
    finally:
        admin.close()
        process.terminate()
        process.wait()


@contextmanager
def tls_proxy(certificates: Certificates, port: int) -> Iterator[int]:
    """Ends TLS in front of a local port; its own port."""
    files = (tls_proxy_script.__file__, str(certificates.certificate), str(certificates.key))
    # It has nothing to say but its port: that handshakes fail is what some tests are about.
    with subprocess.Popen(
        [sys.executable, *files, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()
