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


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("rediss://a/0", "rediss://a/0?ssl_cert_reqs=required"),
        ("REDISS://a/0?ssl_ca_certs=/ca", "rediss://a/0?ssl_ca_certs=/ca&ssl_cert_reqs=required"),
        ("rediss://a;rediss://b", "rediss://a?ssl_cert_reqs=required;rediss://b?ssl_cert_reqs=required"),
        ("rediss://a?ssl_cert_reqs=none;redis://b", "rediss://a?ssl_cert_reqs=none;redis://b"),
        ("AMQPS://User:Word@Host//", "amqps://User:Word@Host//"),
    ],
)
def test_celery_checks_the_certificate_of_each_broker_that_is_named(url: str, taken: str) -> None:
    """Only that of the last one was checked, and none of one in capitals."""
    assert settings("redis://h", broker_url=url).celery_broker == taken


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("trusted_hosts", ("a b", "a, b", "a,", "", "*.*", "a\n"), ("*", "a", "a,*.b.org")),
        ("models", ("./runs", "/runs,", ""), ("/runs", "/a b,org/*,org/name")),
    ],
)
def test_what_is_wrong_with_a_list_is_said_in_words(name: str, wrong: tuple[str, ...], right: tuple[str, ...]) -> None:
    for value in wrong:
        with pytest.raises(ValidationError, match="separated by commas alone"):
            settings("redis://h", **{name: value})
    for value in right:
        assert getattr(settings("redis://h", **{name: value}), name) == value
