"""The settings of the service, and those that it shares with the workers; read from the environment once."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RedisSettings(BaseSettings):
    """Where jobs, directions and the queue live. Both parts need the same values."""

    model_config = SettingsConfigDict(env_prefix="CONGRAD_", env_ignore_empty=True, extra="ignore")

    redis_url: str = "redis://127.0.0.1:6379/0"
    broker_url: str | None = None
    """Celery's broker; the same Redis unless set."""
    visibility_timeout: Annotated[int, Field(ge=5)] = 300
    """Seconds after which the task of a worker that vanished is given to another. A task that takes longer is
    computed twice, which costs time and changes nothing."""
    job_ttl: Annotated[int, Field(ge=60)] = 86_400
    """Seconds that an unfinished job, with its texts and vectors, is kept; and from its end on, a job whose gradients
    are retained, with these and with the answers that it was scored again with."""
    result_ttl: Annotated[int, Field(ge=1)] = 3_600
    """Seconds that the answer of any other job is kept once it has ended, and so how long its idempotency key protects
    it."""

    @property
    def celery_broker(self) -> str:
        """The broker's URL."""
        return self.broker_url or self.redis_url


class ServiceSettings(RedisSettings):
    """The front end's settings."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    api_key: SecretStr | None = None
    """The bearer token that every route but /livez asks for; no token, no check."""
    max_samples: Annotated[int, Field(ge=1)] = 4_096
    """Samples in one request."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 64 * 2**20
    max_queue: Annotated[int, Field(ge=1)] = 256
    """Unfinished jobs; one more is refused with 429."""
    max_wait: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a request waits for its job at most, and waits if it does not say."""
    chunk_tokens: Annotated[int, Field(ge=1)] = 65_536
    """Estimated tokens in one task: large enough that a worker can sort pairs by length, small enough that a
    request spreads over the workers and a lost task costs little."""
