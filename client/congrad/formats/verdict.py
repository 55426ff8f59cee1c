"""What the verdict on two answers says: which value stands for the first of them, and which for the second."""

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
    """The value of the first answer and that of the second, as ``1/2`` or ``a/b``; ``-/+`` are those of a sign."""

    first: str
    second: str

    @classmethod
    def of(cls, text: str) -> Self:
        """:raises VerdictError: it is not of this form."""
        first, slash, second = (part.strip().lower() for part in text.partition("/"))
        are_signs = first in (BELOW, ABOVE) and second in (BELOW, ABOVE)
        if not first or not slash or not second or first == second or (BELOW in (first, second) and not are_signs):
            raise VerdictError(f"{text!r} should be FIRST/SECOND, such as 0/1, 1/2 or a/b, or -/+ for a sign")
        return cls(first, second)

    def __str__(self) -> str:
        return f"{self.first}/{self.second}"

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
            return (number < 0) is (self.first == BELOW) if number and number == number else None
        for answer in (self.first, self.second):
            if str(value).strip().lower() == answer or (number is not None and number == number_of(answer)):
                return answer == self.first
        return None

    @property
    def is_signed(self) -> bool:
        """Whether it is a number's sign that counts."""
        return self.first in (BELOW, ABOVE)


FROM_ZERO, FROM_ONE, SIGNED = Verdict("0", "1"), Verdict("1", "2"), Verdict(BELOW, ABOVE)


def number_of(value: Any) -> float | None:
    """A value as a number, where it is one."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
