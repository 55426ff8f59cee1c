"""What settings may be."""

import pytest
from pydantic import ValidationError
from support.serving import settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "rediss://u:p@h:6380/3?ssl_cert_reqs=required",
        "redis://h//0/",
    ],
)
def test_a_redis_is_named_as_redis_py_names_it(url: str) -> None:
    assert settings(url).redis_url == url


@pytest.mark.parametrize("url", ["foo", "http://h:6379", "127.0.0.1:6379", "REDIS://h", "redis://h:6379/x"])
def test_what_is_the_url_of_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="redis://"):
        settings(url)


@pytest.mark.parametrize(
    "option", ["foo=1", "socket_timeout=soon", "ssl_cert_reqs=maybe", "protocol=9", "ssl_ca_certs=/ca.pem"]
)
def test_an_option_that_redis_py_does_not_take_is_refused(option: str) -> None:
    url = f"rediss://u:hunter@h?{option}" if option.startswith("ssl_cert") else f"redis://u:hunter@h?{option}"
    with pytest.raises(ValidationError, match=r"redis_url\n.*an option that redis-py does not take") as refused:
        settings(url)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://u:hunter@h?socket_timeout=5", "unix:///run/redis.sock?db=1"])
def test_a_redis_that_celery_does_not_take_needs_a_broker_beside_it(url: str) -> None:
    with pytest.raises(ValidationError, match=r"broker_url\n.*Celery does not take CONGRAD_REDIS_URL") as it:
        settings(url)
    assert ("redis+socket:///" in str(it.value)) == url.startswith("unix")
    assert "hunter" not in str(it.value)
    broker = "redis+socket:///run/redis.sock?virtual_host=1"
    assert settings(url, broker_url=broker).celery_broker == broker


@pytest.mark.parametrize("url", ["foo://u:hunter@h", "redis://u:hunter@h?foo=1", "rediss://h?ssl_cert_reqs=maybe"])
def test_a_broker_that_celery_does_not_take_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"broker_url\n.*is none that Celery takes") as refused:
        settings("redis://h", broker_url=url)
    assert "hunter" not in str(refused.value)


def test_a_broker_says_what_it_is() -> None:
    assert settings("redis://h", broker_url="amqps://h//").broker_url == "amqps://h//"
    several = "sentinel://a:26379;sentinel://b:26379"
    assert settings("redis://h", broker_url=several).broker_url == several
    for url in ("localhost", "localhost:5672"):
        with pytest.raises(ValidationError, match="what kind of broker"):
            settings("redis://h", broker_url=url)
