"""The settings of the service, and those that it shares with the workers; read from the environment once."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from congrad.contract.wire import MAX_LANGUAGES
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LogFormat = Literal["pretty", "json"]

TOKENS = ("api_key", "read_key", "api_keys_file")
"""Settings that say that a token is asked for."""

IN_REDIS = "redis"
"""The gradient store that is no other."""

STORE = r"^([a-z][a-z0-9+.-]*)://[^\s?#]+$"
"""The URL of any other."""


def _list_of(items: str, expression: str) -> AfterValidator:
    """What refuses other lists in words: an expression that does not match tells nobody what would."""

    def check(value: str) -> str:
        if not re.fullmatch(expression, value):
            raise ValueError(f"should be {items}, separated by commas alone")
        return value

    return AfterValidator(check)


Hosts = Annotated[str, _list_of("names of hosts", r"(\*|(\*\.)?[^\s,*]+)(,(\*|(\*\.)?[^\s,*]+))*")]

Models = Annotated[
    str, _list_of("folders from the root on, and names on the hub", r"(/|[A-Za-z0-9])[^,]*(,(/|[A-Za-z0-9])[^,]*)*")
]


class RedisSettings(BaseSettings):
    """Where jobs, directions and the queue live. Both parts need the same values."""

    model_config = SettingsConfigDict(
        env_prefix="CONGRAD_",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,  # it may hold a password
        use_attribute_docstrings=True,  # docs/operations.md has them in its tables
    )

    redis_url: Annotated[str, Field(repr=False)] = "redis://127.0.0.1:6379/0"
    """Redis, or Valkey; `rediss` for TLS. User and password are percent-encoded."""
    broker_url: Annotated[str | None, Field(repr=False)] = None
    """Celery's broker; the same Redis unless set."""
    visibility_timeout: Annotated[int, Field(ge=5)] = 300
    """Seconds after which the task of a worker that vanished is given to another. A task that takes longer is
    computed twice, which costs time and changes nothing."""
    job_ttl: Annotated[int, Field(ge=60)] = 86_400
    """Seconds that an unfinished job, with its texts and vectors, is kept; and from its end on, a job whose gradients
    are retained, with these and with the answers that it was scored again with; and one that was given up, with its
    texts, so that it can be tried again."""
    result_ttl: Annotated[int, Field(ge=1)] = 3_600
    """Seconds that the answer of any other job is kept once it has ended. Its idempotency key keeps it from being done
    again for longer: for ``job_ttl`` from its beginning."""
    gradient_store: Annotated[str, Field(repr=False)] = IN_REDIS
    """Where gradients are kept that jobs retain, as two passes do: `redis`, or a folder as fsspec names it, such as
    `file:///srv/congrad/gradients`, `s3://bucket/folder` or `gs://bucket/folder`, which the workers reach under the
    same name. Credentials are in the workers' environment, as the file system's own library reads them there."""
    gradient_bits: Literal[8, 16] = 16
    """Bits of a number in a gradient store that is not Redis: with 8, and a scale for each pair, a pair takes half as
    much, and its score changes a little."""
    max_languages: Annotated[int, Field(ge=1, le=MAX_LANGUAGES)] = 256
    """Languages of one request, and of one direction; what a decision costs grows with the cube of their number."""
    log_format: LogFormat = "pretty"
    """How lines of the log are written: for people, or each as a JSON object."""
    models: Models | None = None
    """What `POST /checkpoints` may have workers load, separated by commas: folders (all below them), names of models on
    the Hugging Face hub, `org/*` for all of an organisation. Nothing unless it is set."""
    keep_texts: bool = False
    """Keeps the texts of a job's samples for as long as its answer, for `GET /jobs/{id}/samples`: whoever may read the
    job may read them. Without, they go when the job ends, unless it was given up, and no route shows them."""

    @property
    def celery_broker(self) -> str:
        """The broker's URL, with TLS as redis-py has it: Celery checks no certificate unless it is told to."""
        return ";".join(map(_checking_certificates, (self.broker_url or self.redis_url).split(";")))

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not all(map(_is_whole, value.split(";"))):  # a broker may be several sentinels
            raise ValueError("should be a URL, in which user and password are percent-encoded")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_of_redis(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):  # as redis-py asks, in small letters
            raise ValueError("should begin with redis://, rediss:// or unix://")
        parts = urlsplit(value)
        if parts.scheme != "unix" and not re.fullmatch(r"\d*", unquote(parts.path).strip("/ ")):
            raise ValueError("should end with the number of a database, if with anything: redis://host:6379/0")
        return value

    @field_validator("broker_url")
    @classmethod
    def _is_of_a_broker(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError("should begin with what kind of broker it is, as amqps:// does")
        return value

    @field_validator("gradient_store")
    @classmethod
    def _is_store(cls, value: str) -> str:
        if value != IN_REDIS and (not re.match(STORE, value) or "@" in value):
            raise ValueError(
                "should be redis, or the URL of a folder, such as file:///srv/congrad or s3://bucket/folder; "
                "credentials are not part of it"
            )
        if value.startswith("file://") and not value.startswith("file:///"):
            raise ValueError("a folder of this machine has three slashes and an absolute path: file:///srv/congrad")
        return value.rstrip("/")


class ServiceSettings(RedisSettings):
    """The front end's settings."""

    api_key: SecretStr | None = None
    """A bearer token that may do everything without a team; white space around it is cut off."""
    read_key: SecretStr | None = None
    """Another one, of role `read`: for Prometheus, and for whoever only looks."""
    api_keys_file: Path | None = None
    """A file of further tokens, as `congrad token` writes them. It is read once, and refused where others than its
    owner may write to it."""
    host: str = "127.0.0.1"
    """Where to listen. Without a token there is no check, and then it must be loopback."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    """0 is any that is free."""
    trusted_hosts: Hosts | None = None
    """Names under which clients may ask for the service, separated by commas: `*.example.org` for all below that one,
    `*` for any. Where no token is asked for, `localhost`, `127.0.0.1` and `[::1]` are among them, and no other unless
    it is named: that keeps out web pages whose name points to this machine. Where one is asked for, any will do unless
    this is set."""
    max_connections: Annotated[int, Field(ge=1)] = 2_048
    """Connections at once. Where there is one more, that one is closed which has waited longest for a request; where
    all of them are being answered, the new one is refused with 503. A token may have half as many requests at once."""
    max_samples: Annotated[int, Field(ge=1)] = 4_096
    """Samples in one request."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 64 * 2**20
    """Bytes of one request; a longer body is refused with 413."""
    max_queue: Annotated[int, Field(ge=1)] = 256
    """Unfinished jobs; one more is refused with 429."""
    max_queue_bytes: Annotated[int, Field(ge=1)] = 4 * 2**30
    """Bytes of the unfinished jobs in Redis, the gradients that they wait for included; one more is refused with 429.
    One for which Redis's own `maxmemory` leaves no room is refused with 503."""
    max_retained_bytes: Annotated[int, Field(ge=1)] = 16 * 2**30
    """Bytes of the gradients that a team's jobs retain; a request that asks for more is refused with 409."""
    max_directions: Annotated[int, Field(ge=1)] = 1_000
    """Directions of a team; a request that would begin one more is refused with 409. Requests that are accepted at the
    same time may together go beyond it."""
    max_wait: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a request waits for its job at most, and waits if it does not say."""
    scale_from_zero: bool = False
    """Takes requests for a checkpoint that no worker serves, where one has served it within the last 30 days: they
    wait, an hour at most, until one is brought up, and `GET /checkpoints` lists it without workers. Off, they are
    refused with 503."""
    chunk_tokens: Annotated[int, Field(ge=1)] = 65_536
    """Estimated tokens in one task: large enough that a worker can sort pairs by length, small enough that a
    request spreads over the workers and a lost task costs little."""

    @property
    def asks_for_tokens(self) -> bool:
        """Whether there is any token."""
        return any(getattr(self, name) is not None for name in TOKENS)

    @field_validator("api_key", "read_key")
    @classmethod
    def _is_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        token = value.get_secret_value().strip()  # files of secrets end with a line break
        if not (token and token.isascii() and token.isprintable()):
            raise ValueError("should be a token: ASCII characters that a header can hold, and at least one")
        if info.field_name == "read_key" and info.data.get("api_key") == SecretStr(token):
            raise ValueError("should be another token than CONGRAD_API_KEY, which may do everything")
        return SecretStr(token)

    @field_validator("host")
    @classmethod
    def _is_guarded(cls, value: str, info: ValidationInfo) -> str:
        # A setting that is wrong itself is missing here, and has an error of its own.
        unguarded = all(info.data.get(name, "") is None for name in TOKENS)
        if unguarded and not _is_loopback(value):
            raise ValueError(
                f"{value} can be reached from other machines, and no token is asked for; set CONGRAD_API_KEY or "
                "CONGRAD_API_KEYS_FILE, or listen on 127.0.0.1"
            )
        return value


def _is_whole(url: str) -> bool:
    """Whether nothing of it can be cut at the wrong place: part of a password would pass for a host, and be logged."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and "@" not in parts.path + parts.query + parts.fragment
    except ValueError:
        return False


def _checking_certificates(url: str) -> str:
    scheme, _, rest = url.partition("://")
    url = f"{scheme.lower()}://{rest}"
    if scheme.lower() != "rediss" or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
