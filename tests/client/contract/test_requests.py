"""What a request may ask for."""

import math

import pytest
from congrad.contract import wire
from pydantic import ValidationError

SAMPLES = [{"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}]


@pytest.mark.parametrize(
    ("given", "read"), [(4, 4.0), (0.5, 0.5), (math.inf, math.inf), ("inf", math.inf), (None, None)]
)
def test_a_half_life_is_a_number_of_samples_or_inf(given: object, read: float | None) -> None:
    request = wire.FilterRequest.model_validate({"samples": SAMPLES, "half_life": given})
    assert request.half_life == read


@pytest.mark.parametrize("given", ["infinity", "Infinity", "100", ""])
def test_a_half_life_in_other_words_is_told_what_is_taken(given: str) -> None:
    with pytest.raises(ValidationError, match=f"should be a number of samples, or 'inf'; it is '{given}'"):
        wire.FilterRequest.model_validate({"samples": SAMPLES, "half_life": given})
