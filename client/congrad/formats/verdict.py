"""What the verdict on two answers says: which value stands for the first of them, and which for the second."""

import math
from dataclasses import dataclass
from typing import Any, Self

BELOW, ABOVE = "-", "+"
"""In place of values: a number's sign."""


class TieError(ValueError):
    """A row prefers neither of its answers, so it is no pair, and nothing is wrong with it."""


class VerdictError(ValueError):
    """What verdicts say cannot be told, or is said of rows that have none."""


@dataclass(frozen=True)
class Verdict:
    """The value of the first answer and that of the second, as ``1/2`` or ``a/b``; ``-/+`` are those of a sign. A third
    one is that of a tie."""

    first: str
    second: str
    tie: str | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """:raises VerdictError: it is not of this form."""
        parts = [part.strip().lower() for part in text.split("/")]
        signs = sum(part in (BELOW, ABOVE) for part in parts)
        are_apart = len({number_of(part) if number_of(part) is not None else part for part in parts}) == len(parts)
        if len(parts) not in (2, 3) or not all(parts) or not are_apart or signs not in (0, len(parts)):
            raise VerdictError(
                f"{text!r} should be FIRST/SECOND, such as 0/1, 1/2 or a/b, or -/+ for a sign; or FIRST/SECOND/TIE"
            )
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.first, self.second, self.tie)))

    @property
    def meaning(self) -> str:
        """The same in words."""
        if not self.is_signed:
            return f"{self.first} is the first answer, {self.second} the second"
        below, above = ("first", "second") if self.first == BELOW else ("second", "first")
        return f"below zero the {below} is better, above zero the {above}"

    def is_first(self, value: Any) -> bool | None:
        """Whether a value stands for the first answer; None where it stands for neither."""
        number = number_of(value)
        if self.is_signed:
            return (number < 0) is (self.first == BELOW) if number else None
        for answer in (self.first, self.second):
            if str(value).strip().lower() == answer or _is_same(number, answer):
                return answer == self.first
        return None

    def is_tie(self, value: Any) -> bool:
        """Whether a value stands for neither being better: what is said to, and a 0 that is not one of the two."""
        number = number_of(value)
        if self.tie is not None and (str(value).strip().lower() == self.tie or _is_same(number, self.tie)):
            return True
        return number == 0 and not any(_is_same(number, answer) for answer in (self.first, self.second))

    @property
    def is_signed(self) -> bool:
        """Whether it is a number's sign that counts."""
        return self.first in (BELOW, ABOVE)


FROM_ZERO, FROM_ONE, SIGNED = Verdict("0", "1"), Verdict("1", "2"), Verdict(BELOW, ABOVE)


def _is_same(number: float | None, text: str) -> bool:
    return number is not None and number == number_of(text)


def number_of(value: Any) -> float | None:
    """A value as a number, where it is one."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number  # what pandas writes where there is nothing
