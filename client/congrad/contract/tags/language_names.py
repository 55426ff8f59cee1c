"""Names of languages: the English ones from IANA's registry of subtags, which langcodes ships, and some own ones."""

import difflib
import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

USUAL = {
    "bokmål": "nb",
    "brazilian portuguese": "pt-BR",
    "castellano": "es",
    "european portuguese": "pt-PT",
    "farsi": "fa",
    "greek": "el",
    "mandarin": "zh",
    "modern standard arabic": "ar",
    "myanmar": "my",
    "norsk bokmål": "nb",
    "norsk nynorsk": "nn",
    "simplified chinese": "zh",
    "traditional chinese": "zh-Hant",
    "western persian": "fa",
    "हिंदी": "hi",
    "汉语": "zh",
    "简体中文": "zh",
}
"""Names in use that the registry does not have."""

OWN = {
    "af": "Afrikaans", "ar": "العربية", "az": "Azərbaycanca", "be": "Беларуская", "bg": "Български", "bn": "বাংলা",
    "bs": "Bosanski", "ca": "Català", "cs": "Čeština", "cy": "Cymraeg", "da": "Dansk", "de": "Deutsch",
    "el": "Ελληνικά", "es": "Español", "et": "Eesti", "eu": "Euskara", "fa": "فارسی", "fi": "Suomi", "fr": "Français",
    "ga": "Gaeilge", "gl": "Galego", "gu": "ગુજરાતી", "he": "עברית", "hi": "हिन्दी", "hr": "Hrvatski", "hu": "Magyar",
    "hy": "Հայերեն", "id": "Bahasa Indonesia", "is": "Íslenska", "it": "Italiano", "ja": "日本語", "ka": "ქართული",
    "kk": "Қазақша", "km": "ខ្មែរ", "kn": "ಕನ್ನಡ", "ko": "한국어", "lt": "Lietuvių", "lv": "Latviešu", "mk": "Македонски",
    "ml": "മലയാളം", "mn": "Монгол", "mr": "मराठी", "ms": "Bahasa Melayu", "my": "မြန်မာ", "ne": "नेपाली",
    "nl": "Nederlands", "no": "Norsk", "pa": "ਪੰਜਾਬੀ", "pl": "Polski", "pt": "Português", "ro": "Română",
    "ru": "Русский", "si": "සිංහල", "sk": "Slovenčina", "sl": "Slovenščina", "sq": "Shqip", "sr": "Српски",
    "sv": "Svenska", "sw": "Kiswahili", "ta": "தமிழ்", "te": "తెలుగు", "th": "ไทย", "tr": "Türkçe",
    "uk": "Українська", "ur": "اردو",
    "uz": "Oʻzbekcha", "vi": "Tiếng Việt", "zh": "中文", "zh-Hant": "繁體中文",
}  # fmt: skip
"""What common languages call themselves, which the registry does not say."""

QUALIFIED = re.compile(r"(?P<name>[^(),]+?)\s*[(,]\s*(?P<qualifier>[^()]+?)\s*\)?")
"""A name and the country or script that it is meant for, such as ``Portuguese (Brazil)``."""

SCRIPTS = {"simplified": "Hans", "traditional": "Hant"}

PARENTHESIS = re.compile(r" \([^)]*\)")


class _Names(NamedTuple):
    """Codes by names, which are in lower case; the first name of a code; and by a code the one that it may stand behind
    in a tag: ``arz`` is written ``ar-arz`` too."""

    languages: dict[str, str]
    qualifiers: dict[str, str]
    titles: dict[str, str]
    prefixes: dict[str, str]


def code_of(name: str) -> str | None:
    """The tag of the language that is called so."""
    plain = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    names = _names()
    if plain in names.languages:
        return names.languages[plain]
    match = QUALIFIED.fullmatch(plain)
    if match is None or match["name"] not in names.languages:
        return None
    qualifier = names.qualifiers.get(match["qualifier"], match["qualifier"])
    # A code of a country may stand there too: English (US).
    is_code = match["qualifier"] in names.qualifiers or re.fullmatch(r"[a-z]{2}", qualifier)
    return f"{names.languages[match['name']]}-{qualifier}" if is_code else None


def name_of(tag: str) -> str:
    """What the language of a tag is called; the tag itself where it has no name."""
    return _names().titles.get(tag.partition("-")[0], tag)


def prefix_of(code: str) -> str | None:
    """The code of a group of languages that may stand before this one in a tag."""
    return _names().prefixes.get(code)


def nearest(name: str) -> str | None:
    """The tag of a common language whose name is nearly this one and begins alike: of eight thousand languages one is
    always near, and a request may have many wrong names."""
    first = name[:1].casefold()
    common = {known: code for known, code in _names().languages.items() if len(code) == 2 and known[0] == first}
    found = difflib.get_close_matches(name.casefold(), common, n=1, cutoff=0.75)
    return common[found[0]] if found else None


@lru_cache(1)
def _names() -> _Names:
    """The registry is read once, when a language is first given by something else than its code."""
    from langcodes.registry_parser import parse_registry

    names = _Names({}, dict(SCRIPTS), {}, {})
    for entry in parse_registry():  # type: ignore[no-untyped-call] # the package has types, but not here
        described = [PARENTHESIS.sub("", text) for text in entry.get("Description", ())]
        if entry["Type"] == "language" and "Deprecated" not in entry and entry.get("Scope") != "private-use":
            names.titles[entry["Subtag"]] = described[0]
            for text in described:
                # The shorter codes come first in the registry: Malay is ms, and not one of the languages of that name.
                names.languages.setdefault(text.casefold(), entry["Subtag"])
        elif entry["Type"] == "extlang":
            names.prefixes[entry["Subtag"]] = entry["Prefix"][0]
        elif entry["Type"] in ("region", "script"):
            names.qualifiers.update({text.casefold(): entry["Subtag"] for text in entry["Description"]})
    names.languages.update(USUAL)
    for tag, name in OWN.items():
        names.languages.setdefault(name.casefold(), tag)
    return names
