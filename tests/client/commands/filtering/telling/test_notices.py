"""What is said of a file's languages before anything is sent."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from congrad.commands.filtering.telling.notices import notices, of_direction, of_tags
from congrad.contract import wire
from congrad.files.samples import Survey
from congrad.formats import Fields, recognised

NOW = datetime.now(UTC)


def test_several_tags_of_one_language_are_named() -> None:
    (notice,) = of_tags(["ar-EG", "de", "ar"])
    assert notice.startswith("ar and ar-EG are tags of one language")


def direction(**languages: int) -> wire.Direction:
    """One that holds so many rows of each language."""
    held = {tag: wire.DirectionLanguage(samples=n, weight=n, norm=1.0) for tag, n in languages.items()}
    return wire.Direction(
        name="default", version=1, checkpoint="c", fingerprint="f", created=NOW, updated=NOW, half_life=None,
        aggregator={}, norm=1.0, languages=held, cosines_before=[], cosines_after=[],
    )  # fmt: skip


def test_a_direction_that_holds_rows_of_earlier_runs_is_told_of_once() -> None:
    (notice,) = of_direction(direction(ja=4, de=300), ["de"], is_new=True)
    assert notice == (
        "direction 'default' holds 304 rows of earlier runs (de, ja), and they count too; --direction NAME begins a "
        "fresh one"
    )
    assert list(of_direction(direction(de=4), ["de"], is_new=False)) == []
    assert list(of_direction(None, ["de"], is_new=True)) == []
    assert list(of_direction(direction(), ["de"], is_new=True)) == []


def test_tags_of_one_language_are_named_where_one_is_the_directions() -> None:
    (notice,) = of_direction(direction(de=4, ja=1), ["de-DE", "ja"], is_new=False)
    assert notice.startswith("the direction has de, and the file de-DE: tags of one language, and each counts as one")


def test_a_language_with_a_row_or_two_among_many_is_named_with_its_rows() -> None:
    found = Survey(languages=Counter(de=48, fil=1, ga=2), firsts={"fil": ["line 7"], "ga": ["line 8", "line 9"]})
    (notice,) = notices(found)
    assert notice.startswith("hardly any rows: fil (line 7), ga (line 8 and line 9); each counts as a language of its")
    assert list(notices(Survey(languages=Counter(de=8, fil=1)))) == []


def test_a_code_of_a_country_that_is_also_one_of_a_language_is_asked_about() -> None:
    assert list(of_tags(["de", "kr"])) == ["kr is Kanuri: did you mean 'ko' (Korean)?"]


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
