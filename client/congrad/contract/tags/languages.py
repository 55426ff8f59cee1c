"""Languages, each by one tag: BCP 47 in the form that the registry recommends, whether it was written as a tag, as a
FLORES or ISO 639-3 code, as a locale, or as an English name."""

import re
from functools import lru_cache

MAX_LENGTH = 64
"""Longer than any tag in use, and short enough for a key and a column."""

UNSURE = "und"
"""The tag of a language that is not known."""

NO_VALUES = frozenset({"n/a", "nan", "nil", "none", "null", "undefined", "unknown"})
"""How programs write that there is no value. ``nan`` is a code too, of Min Nan, and nearly never meant as one."""

MIN_NAN = frozenset({"hokkien", "min nan", "min nan chinese", "zh-min-nan", "zh-nan", "zh_min_nan", "zh_nan"})
"""Names and tags of the language whose code is taken for no value."""

NO_TEXTS = frozenset({"code", "coding", "math", "python"})
"""What data sets have for rows that are in no language."""

MISTAKEN = {"kr": "ko", "se": "sv"}
"""Codes of languages with few speakers that are mostly meant as those of a country, and the language that is meant."""

LOCALE = re.compile(r"(?P<tag>[A-Za-z]{2,3}(_[A-Za-z]{2})?)(\.[\w-]+)?(@(?P<modifier>\w+))?")
"""A POSIX locale, such as ``de_DE.UTF-8`` or ``sr_RS@latin``."""

MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl"}

HANGUL = "Hang"
"""FLORES writes Korean with it; the registry's default is the script that has Chinese characters as well."""


def normalise_language(language: str) -> str:
    """Returns the one tag of a language: ``zh_cn`` becomes ``zh-CN``, ``iw`` becomes ``he``, ``deu_Latn`` and
    ``German`` become ``de``, ``arb`` and ``Standard Arabic`` become ``ar``.

    Codes of ISO 639-3 become the shorter code, or the language that they are the standard form of. A script is left
    out where the language is mostly written in it and no region is named. What else a tag says stays, a region for one.

    :raises ValueError: it is no assigned tag and no name of a language; the message says what was probably meant.
    """
    tag, fault = _tag_or_fault(language[: MAX_LENGTH + 1])
    if fault:
        raise ValueError(fault)
    return tag


def base_language(tag: str) -> str:
    """The language that a normalised tag is of, without script, region and variant: two tags with one base mean the
    same language, in two forms."""
    base = tag.partition("-")[0]
    return "no" if base in ("nb", "nn") else base


@lru_cache(4096)
def _tag_or_fault(language: str) -> tuple[str, str]:
    """The tag, or what is wrong; both are remembered, as a file has few of them and names them in every row."""
    wanted = language.strip()
    if len(language) > MAX_LENGTH:
        return "", _fault(language)
    if wanted.casefold() not in NO_VALUES and (tag := _of_code(wanted) or _of_name(wanted)):
        return tag, ""
    return "", _fault(wanted, _hint(wanted))


def _of_code(code: str) -> str | None:
    """The tag that a tag, a code or a locale stands for; None where it is not assigned."""
    # Imported here: its tables take a sixth of the time that `import congrad` may take, and a client rarely needs them.
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = _canonical(_without_codeset(code))
        # A few odd variants come out as what is no tag itself.
        return tag if langcodes.tag_is_valid(tag) and _canonical(tag) == tag else None
    except LanguageTagError:
        return None


def _without_codeset(code: str) -> str:
    match = LOCALE.fullmatch(code)
    if match is None or match["modifier"] is None:
        return code if match is None else match["tag"]
    script = MODIFIERS.get(match["modifier"].lower())
    language, _, region = match["tag"].partition("_")
    return "-".join(part for part in (language, script, region) if part)


def _canonical(code: str) -> str:
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    tag = langcodes.standardize_tag(code, macro=True)
    if tag.casefold() in NO_VALUES:
        raise LanguageTagError
    found = langcodes.Language.get(tag)
    if found.extlangs:
        return _canonical(_without_prefix(tag))
    if found.script is None or found.territory is not None or found.variants or found.extensions or found.private:
        return tag
    bare = found.language or UNSURE
    usual = langcodes.Language.get(bare).maximize().script
    is_usual = found.script == usual or (bare == "ko" and found.script == HANGUL)
    return bare if is_usual and bare not in NO_VALUES else tag


def _without_prefix(tag: str) -> str:
    """A tag such as ``ar-arz``, by the code of the language alone. langcodes takes any three letters for a language
    there, those of a country too: ``en-USA``."""
    from langcodes.tag_parser import LanguageTagError

    from congrad.contract.tags.language_names import prefix_of

    prefix, _, rest = tag.partition("-")
    if prefix_of(rest[:3]) != prefix:
        raise LanguageTagError
    return rest


def _of_name(name: str) -> str | None:
    from congrad.contract.tags.language_names import code_of

    code = code_of(name)
    return None if code is None else _of_code(code)


def _hint(wanted: str) -> str:
    """What was probably meant; empty where that cannot be told."""
    if wanted.casefold() in NO_VALUES:
        return f"it stands for a missing value: leave the row out, or give {UNSURE!r} where the language is not known"
    if wanted.casefold() in MIN_NAN:
        return "Min Nan is written with its script, 'nan-Hant' or 'nan-Latn', as 'nan' stands for a missing value"
    if wanted.casefold() in NO_TEXTS:
        return f"give the language of the text, {UNSURE!r} where it is not known, or 'zxx' where there is none"
    from congrad.contract.tags.language_names import name_of, nearest

    code = _of_region(wanted) or _of_long_region(wanted) or nearest(wanted)
    tag = None if code is None else _of_code(code)
    return "" if tag is None else f"did you mean {tag!r} ({name_of(tag)})?"


def _of_region(code: str) -> str | None:
    """The language that most people speak in a region whose code this is: ``ja`` for ``jp``."""
    import langcodes

    if not re.fullmatch(r"[A-Za-z]{2}", code) or re.fullmatch(r"AA|Q[M-Z]|X[A-Z]|ZZ", code.upper()):
        return None  # no code of a region, or one that is nobody's
    place = langcodes.Language.get(f"und-{code}")
    spoken = place.maximize().language if place.is_valid() else None
    return None if spoken == UNSURE else spoken


def _of_long_region(code: str) -> str | None:
    """``en-US`` for ``en-USA``: regions have codes of three letters too, and tags have those of two."""
    from langcodes.data_dicts import TERRITORY_REPLACEMENTS

    match = re.fullmatch(r"([A-Za-z]{2,3})[-_]([A-Za-z]{3})", code)
    region = None if match is None else TERRITORY_REPLACEMENTS.get(match[2].lower())
    return f"{match[1]}-{region}" if match and region else None


def _fault(language: str, hint: str = "") -> str:
    return (
        f"{language[:MAX_LENGTH]!r} is not a BCP 47 language tag such as 'de', 'pt-BR' or 'zh-Hant', nor the English "
        f"name of a language{'; ' if hint else ''}{hint}"
    )
