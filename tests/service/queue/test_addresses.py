"""What redis-py and Celery do not take is told before anything starts."""

from pathlib import Path

import pytest
from congrad_service.queue.addresses import AddressError, check_addresses
from support.guarded_redis import make_certificates
from support.serving import settings


@pytest.mark.parametrize(
    "option", ["foo=1", "socket_timeout=soon", "ssl_cert_reqs=maybe", "protocol=9", "ssl_ca_certs=/ca.pem"]
)
def test_an_option_that_redis_py_does_not_take_is_refused(option: str) -> None:
    url = f"rediss://u:hunter@h?{option}" if option.startswith("ssl_cert") else f"redis://u:hunter@h?{option}"
    with pytest.raises(AddressError, match=r"^CONGRAD_REDIS_URL: has an option that redis-py does not take") as refused:
        check_addresses(settings(url))
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://u:hunter@h?socket_timeout=5", "unix:///run/redis.sock?db=1"])
def test_a_redis_that_celery_does_not_take_needs_a_broker_beside_it(url: str) -> None:
    with pytest.raises(AddressError, match=r"^CONGRAD_BROKER_URL: .*Celery does not take CONGRAD_REDIS_URL") as refused:
        check_addresses(settings(url))
    assert ("redis+socket:///" in str(refused.value)) == url.startswith("unix")
    assert "hunter" not in str(refused.value)
    check_addresses(settings(url, broker_url="redis+socket:///run/redis.sock?virtual_host=1"))


@pytest.mark.parametrize("url", ["foo://u:hunter@h", "redis://u:hunter@h?foo=1", "rediss://h?ssl_cert_reqs=maybe"])
def test_a_broker_that_celery_does_not_take_is_refused(url: str) -> None:
    with pytest.raises(AddressError, match=r"^CONGRAD_BROKER_URL: is none that Celery takes") as refused:
        check_addresses(settings("redis://h", broker_url=url))
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("option", ["ssl_ca_certs=/ca.pem", "ssl_certfile=/own.pem", "ssl_cert_reqs=none", "ssl=true"])
@pytest.mark.parametrize("url", ["amqps://u:hunter@h//", "AMQPS://u:hunter@h", "amqp://h;amqps://u:hunter@h//"])
def test_an_option_of_tls_that_py_amqp_does_not_take_is_refused(url: str, option: str) -> None:
    """A worker ended with a traceback when it connected, or checked no name."""
    with pytest.raises(AddressError, match=r"^CONGRAD_BROKER_URL: ssl\w*: .*SSL_CERT_FILE") as refused:
        check_addresses(settings("redis://h", broker_url=f"{url}?{option}"))
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://h:1/0", "rediss://u:p@h:6380/3?ssl_cert_reqs=required", "redis://h", "redis://h//0/"]
)
def test_what_both_take_is_taken(url: str) -> None:
    check_addresses(settings(url))
    check_addresses(settings(url, broker_url="amqps://h//"))


@pytest.mark.parametrize("setting", ["CONGRAD_REDIS_URL", "CONGRAD_BROKER_URL"])
@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_is_none_is_named(
    setting: str, option: str, content: str | None, tmp_path: Path
) -> None:
    """A connection would only say that some file is not there, each time that it is tried."""
    path = tmp_path / "own.pem"
    if content is not None:
        path.write_text(content, encoding="ascii")
    url = f"rediss://u:hunter@h?{option}={path}"
    urls = (url, None) if setting == "CONGRAD_REDIS_URL" else ("redis://h", url)
    with pytest.raises(AddressError, match=rf"^{setting}: {option}.*{path}: ") as refused:
        check_addresses(settings(urls[0], broker_url=urls[1]))
    assert "hunter" not in str(refused.value)


def test_files_of_certificates_are_taken(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    own = f"ssl_certfile={made.certificate}&ssl_keyfile={made.key}"
    check_addresses(settings(f"rediss://h?ssl_ca_certs={made.authority}&{own}"))
