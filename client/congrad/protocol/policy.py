"""How long to wait, how often to try again."""

import math
import random
import time
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from numbers import Real

MAX_RETRY_AFTER_S = 120.0
"""A service that asks for more patience than this is not asked again."""


def _check_number(name: str, value: object) -> None:
    """:raises TypeError: it is none, as what comes from the environment or a command line is a string."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} is {type(value).__name__}; it should be a number")


@dataclass(frozen=True)
class Timeouts:
    """Seconds, of one request to the service.

    :param connect: until a connection stands.
    :param attempt: from sending to the last byte of the answer, for each attempt; the synchronous client may notice a
        slow answer only after twice that. The service is asked to answer sooner, if only to say that a job is not done.
    :param total: until the answer, with all attempts, the pauses between them, and the waiting for a job.
    """

    connect: float = 5.0
    attempt: float = 60.0
    total: float = 600.0

    def __post_init__(self) -> None:
        for name, seconds in asdict(self).items():
            _check_number(f"the {name} timeout", seconds)
            if not 0 < seconds < math.inf:
                raise ValueError(f"the {name} timeout is {seconds}; it should be a positive number of seconds")

    @classmethod
    def of(cls, value: "Timeouts | float") -> "Timeouts":
        """A number is the total.

        :raises TypeError: it is neither.
        """
        if not isinstance(value, Timeouts | int | float):
            raise TypeError(f"timeout is {type(value).__name__}; it should be seconds or congrad.Timeouts")
        return value if isinstance(value, Timeouts) else cls(attempt=min(cls.attempt, value), total=value)


@dataclass(frozen=True)
class Policy:
    """What a client does when the service does not answer as it should.

    :param max_retries: further attempts after connection errors, timeouts, 408, 429 and 5xx.
    :param max_downtime: seconds for which requests of pairs and streams of events are tried again beyond
        ``max_retries``: a restart of the service is no error to a training run.
    """

    timeouts: Timeouts = Timeouts()
    max_retries: int = 2
    max_downtime: float = 60.0

    def __post_init__(self) -> None:
        _check_number("max_retries", self.max_retries)
        _check_number("max_downtime", self.max_downtime)
        if not (self.max_retries >= 0 and self.max_downtime >= 0):  # nor NaN, with which it would never give up
            raise ValueError(f"max_retries={self.max_retries}, max_downtime={self.max_downtime}: neither is negative")


def backoff(attempt: int) -> float:
    """Seconds: 0.5, 1, 2, 4, 8, 8, ..., each up to a quarter shorter, so that clients do not return in step."""
    return min(0.5 * 2.0 ** min(attempt, 4), 8.0) * random.uniform(0.75, 1.0)  # noqa: S311 # jitter


def retry_after(header: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as a number or a date, and up to a quarter more: everyone who was
    turned away was told the same. None where there is no such header, or it cannot be read."""
    if not header:
        return None
    # `isdigit` alone is true of superscripts, which are no number; and nine digits are more patience than anyone has.
    if header.isascii() and header.isdigit():
        seconds = float(header[:9])
    else:
        try:
            seconds = max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
        except (ValueError, OverflowError):
            return None
    return seconds * random.uniform(1.0, 1.25)  # noqa: S311 # jitter
