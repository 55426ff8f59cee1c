"""What the numbers of a verdict mean, as far as those of all rows tell it."""

from congrad.formats.verdict import FROM_ONE, FROM_ZERO, SIGNED, Verdict, VerdictError

STRENGTH = "preference_strength"

SIGNED_COLUMN = "overall_preference"
"""HelpSteer3's, which is a sign in all rows."""
PERHAPS_SIGNED = ("preference", STRENGTH)
"""HelpSteer2's strength is a sign; that of others says how far apart the answers are."""

ZERO, ONE, TWO = 0, 1, 2
BELOW_ZERO, OTHER, BOOLEAN = -1, 3, 4
"""All that is kept in mind of numbers besides: there may be millions of rows."""
NAMES = {BELOW_ZERO: "numbers below zero", OTHER: "other numbers", BOOLEAN: "true or false"}


def kind_of(number: float) -> int:
    """What is kept in mind of a number."""
    return int(number) if number in (ZERO, ONE, TWO) else BELOW_ZERO if number < 0 else OTHER


def reading_of(column: str, numbers: set[int], pairs: set[tuple[str, str]]) -> Verdict:
    """What the numbers of a column mean.

    A wrong guess would swap all pairs without a word. So there is none where they can be read either way: nothing but
    1, which is the second of 0 and 1 and the first of 1 and 2; both 0 and 2, of which one is a tie; 0 and 1 beside
    something below, which may be a sign or mark what has no label; or true and false.

    :raises VerdictError: this is so.
    """
    counted = numbers & {ZERO, ONE, TWO}
    if BOOLEAN not in numbers:
        is_one_of_two = column not in PERHAPS_SIGNED and {ZERO, ONE} <= numbers and OTHER not in numbers
        if column == SIGNED_COLUMN or (BELOW_ZERO in numbers and not is_one_of_two):
            return SIGNED
        if all(first.endswith("0") for first, _ in pairs):  # response_0 and response_1
            return FROM_ZERO
    is_either = counted == {ONE} or {ZERO, TWO} <= counted or BELOW_ZERO in numbers
    if column in PERHAPS_SIGNED or BOOLEAN in numbers or is_either:
        first, second = min(pairs)
        example = "true/false" if BOOLEAN in numbers else "-/+" if BELOW_ZERO in numbers else "0/1"
        raise VerdictError(
            f"{column} holds {_in_words(numbers)}, which does not say which of {first} and {second} is better; say "
            f"what stands for the first, for the second and, if anything does, for a tie: --verdict {example}, "
            f'--verdict 1/2 or another (in Python, verdict="{example}")'
        )
    return FROM_ONE if TWO in counted else FROM_ZERO


def _in_words(numbers: set[int]) -> str:
    *others, last = [NAMES.get(number, str(number)) for number in sorted(numbers)]
    return f"{', '.join(others)} and {last}" if others else f"nothing but {last}"
