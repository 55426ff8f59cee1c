"""What redis-py and Celery do not take is told before anything starts."""

import pytest
from congrad_service.queue.addresses import AddressError, check_addresses
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


@pytest.mark.parametrize(
    "url", ["redis://h:1/0", "rediss://u:p@h:6380/3?ssl_cert_reqs=required", "redis://h", "redis://h//0/"]
)
def test_what_both_take_is_taken(url: str) -> None:
    check_addresses(settings(url))
    check_addresses(settings(url, broker_url="amqps://h//"))
