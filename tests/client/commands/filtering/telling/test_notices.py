"""What is said of a file's languages before anything is sent."""

from collections import Counter
from typing import Any

import pytest
from congrad.commands.filtering.telling.notices import notices, of_tags
from congrad.files.samples import Survey
from congrad.formats import Fields, recognised


def test_several_tags_of_one_language_are_named() -> None:
    (notice,) = of_tags(["ar-EG", "de", "ar"])
    assert notice.startswith("ar and ar-EG are tags of one language")


def test_a_file_with_one_language_has_no_cross_lingual_signal() -> None:
    assert [notice[:31] for notice in of_tags(["pt", "pt-BR"])] == [
        "pt and pt-BR are tags of one la",
        "all rows are in one language (p",
    ]
    assert list(of_tags(["de", "fr"])) == []


def test_detected_languages_come_with_how_sure_they_are() -> None:
    found = Survey(languages=Counter(de=2, fr=1, und=1), sureness={"de": 1.8, "fr": 0.7, "und": 0.1})
    (notice,) = notices(found)
    assert notice == "languages detected, with mean probability: de 90%, fr 70%; 1 rows are unsure, and are und"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_language_of_a_text_is_detected_and_what_is_unsure_is_und() -> None:
    rows: list[dict[str, Any]] = [
        {
            "prompt": "Translate to German: the rice",
            "chosen": "Spüle den Reis und lass ihn ziehen.",
            "rejected": "Nein.",
        },
        {
            "prompt": "?",
            "chosen": [{"role": "assistant", "content": "Rincez le riz et laissez cuire."}],
            "rejected": "Non",
        },
        {"prompt": "?", "chosen": "42", "rejected": "7"},
    ]
    found = recognised(rows, Fields(language="auto"))
    assert "language detected from the text of each row" in found.told
    assert [found.fields.read(row)["language"] for row in rows] == ["de", "fr", "und"]
