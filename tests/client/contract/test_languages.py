"""Language tags."""

import pytest
from congrad.contract.languages import normalise_language


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [("de", "de"), ("zh_cn", "zh-CN"), ("PT-br", "pt-BR"), ("iw", "he"), ("zh-hant-tw", "zh-Hant-TW"), ("sw", "sw")],
)
def test_language_tags_are_normalised(tag: str, canonical: str) -> None:
    assert normalise_language(tag) == canonical


@pytest.mark.parametrize("tag", ["", "english", "8t-ufb_86h", "de DE", "x", "de-", "日本語", "a" * 65])
def test_what_is_no_language_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is not a BCP 47 language tag"):
        normalise_language(tag)
