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
        "unix:///run/redis.sock?db=1",
        "redis://h//0/",
    ],
)
def test_a_redis_is_named_as_redis_py_names_it(url: str) -> None:
    assert settings(url).redis_url == url


@pytest.mark.parametrize("url", ["foo", "http://h:6379", "127.0.0.1:6379", "REDIS://h", "redis://h:6379/x"])
def test_what_is_the_url_of_no_redis_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="redis://"):
        settings(url)


def test_a_broker_says_what_it_is() -> None:
    assert settings("redis://h", broker_url="amqps://h//").broker_url == "amqps://h//"
    several = "sentinel://a:26379;sentinel://b:26379"
    assert settings("redis://h", broker_url=several).broker_url == several
    for url in ("localhost", "localhost:5672"):
        with pytest.raises(ValidationError, match="what kind of broker"):
            settings("redis://h", broker_url=url)
