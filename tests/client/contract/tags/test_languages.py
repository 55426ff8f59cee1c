"""Languages by one tag each, however they are written."""

import unicodedata

import langcodes
import pytest
from congrad.contract.tags.languages import base_language, normalise_language
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [("de", "de"), ("zh_cn", "zh-CN"), ("PT-br", "pt-BR"), ("iw", "he"), ("zh-hant-tw", "zh-Hant-TW"), ("sw", "sw")],
)
def test_language_tags_are_normalised(tag: str, canonical: str) -> None:
    assert normalise_language(tag) == canonical


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("deu", "de"),
        ("deu_Latn", "de"),
        ("German", "de"),
        ("german ", "de"),
        ("de_DE.UTF-8", "de-DE"),
        ("arb", "ar"),
        ("arb_Arab", "ar"),
        ("Standard Arabic", "ar"),
        ("Modern Standard Arabic", "ar"),
        ("zho_Hans", "zh"),
        ("zho_Hant", "zh-Hant"),
        ("cmn", "zh"),
        ("Chinese", "zh"),
        ("Chinese (Simplified)", "zh"),
        ("Traditional Chinese", "zh-Hant"),
        ("Portuguese (Brazil)", "pt-BR"),
        ("English (US)", "en-US"),
        ("uzn_Latn", "uz"),
        ("uz-Cyrl", "uz-Cyrl"),
        ("kor_Hang", "ko"),
        ("sr_RS@latin", "sr-Latn-RS"),
        ("Serbian (Latin)", "sr-Latn"),
        ("zsm_Latn", "ms"),
        ("ms-zsm", "ms"),
        ("ar-arb", "ar"),
        ("ar-arz", "arz"),
        ("ar-arz-EG", "arz-EG"),
        ("zh-yue", "yue"),
        ("zh-yue-Hant-HK", "yue-Hant-HK"),
        ("sgn-ase", "ase"),
        ("nan_Hant", "nan-Hant"),
        ("und", "und"),
        ("Deutsch", "de"),
        (unicodedata.normalize("NFD", "Français"), "fr"),
        ("हिंदी", "hi"),
        ("简体中文", "zh"),
        ("français", "fr"),
        ("Español", "es"),
        ("中文", "zh"),
        ("日本語", "ja"),
        ("Bahasa Indonesia", "id"),
    ],
)
def test_codes_locales_and_names_become_the_tag_of_their_language(written: str, tag: str) -> None:
    assert normalise_language(written) == tag
    assert normalise_language(tag) == tag


@pytest.mark.parametrize(
    "tag",
    ["", "8t-ufb_86h", "de DE", "x", "de-", "一二三", "a" * 65, "xx", "de-dex", "ar-yue", "zh-yue-hak"],
)
def test_what_is_no_language_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"is not a BCP 47 language tag .* nor the English name of a language$"):
        normalise_language(tag)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("jp", "did you mean 'ja' .Japanese"),
        ("cn", "did you mean 'zh' .Chinese"),
        ("ua", "did you mean 'uk' .Ukrainian"),
        ("Deutch", "did you mean 'de' .German"),
        ("Frensh", "did you mean 'fr' .French"),
        ("en-USA", "did you mean 'en-US' .English"),
        ("pt_BRA", "did you mean 'pt-BR' .Portuguese"),
        ("nan", "stands for a missing value"),
        ("None", "stands for a missing value"),
        ("null", "stands for a missing value"),
        ("zh-min-nan", "Min Nan is written with its script, 'nan-Hant'"),
        ("Min Nan Chinese", "Min Nan is written with its script, 'nan-Hant'"),
        ("code", "give the language of the text"),
    ],
)
def test_a_refusal_says_what_was_probably_meant(written: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"^'{written}' is not a BCP 47 language tag .*{hint}"):
        normalise_language(written)


@given(st.text(max_size=20) | st.from_regex(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_][A-Z]{2})?", fullmatch=True))
def test_what_comes_out_is_a_valid_tag_and_comes_out_again(written: str) -> None:
    try:
        tag = normalise_language(written)
    except ValueError:
        return
    assert langcodes.tag_is_valid(tag)
    assert normalise_language(tag) == tag


def test_tags_of_one_language_have_one_base() -> None:
    assert {base_language(tag) for tag in ("ar", "ar-EG")} == {"ar"}
    assert base_language("nb") == base_language("nn") == base_language("no")
