"""What is said of a file's languages before anything is sent."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from congrad.contract import wire
from congrad.contract.tags.language_names import name_of
from congrad.contract.tags.languages import MISTAKEN, UNSURE, base_language
from congrad.files.samples import FEW, Survey

MANY = 50
"""Rows of a file in which a language with few of them is told of."""

TOLD = 5
"""Of such languages."""


def notices(found: Survey) -> Iterator[str]:
    """What whoever filters should know of the rows of a file, and of their languages."""
    if ties := found.bad.ties:
        yield f"{ties} {'ties' if ties > 1 else 'tie'} left out: neither answer is preferred"
    if empty := found.empty_prompts:
        yield f"{empty} {'rows have' if empty > 1 else 'row has'} an empty prompt"
    if found.sureness:
        yield _sureness(found)
    yield from _few(found)
    yield from of_tags(found.languages)


def _few(found: Survey) -> Iterator[str]:
    """Languages with a row or two among many, by mistake perhaps."""
    rows = {tag: found.firsts.get(tag, []) for tag, count in sorted(found.languages.items()) if count <= FEW}
    if rows and found.rows >= MANY:
        told = ", ".join(f"{tag} ({' and '.join(rows[tag])})" for tag in list(rows)[:TOLD])
        others = f" and {len(rows) - TOLD} more languages" if len(rows) > TOLD else ""
        yield f"hardly any rows: {told}{others}; each counts as a language of its own: correct the tag if it is none"


def of_direction(direction: wire.Direction | None, languages: Collection[str], *, is_new: bool) -> Iterator[str]:
    """What whoever filters should know of the direction that the rows meet.

    :param languages: those of the file.
    :param is_new: whether the rows are folded into it, and none of them is yet.
    """
    if direction is None or not direction.languages:
        return
    if is_new:
        rows = sum(language.samples for language in direction.languages.values())
        yield (
            f"direction {direction.name!r} holds {rows} rows of earlier runs "
            f"({', '.join(sorted(direction.languages))}), and they count too; --direction NAME begins a fresh one"
        )
    for tag in sorted(languages):
        others = [other for other in direction.languages if base_language(other) == base_language(tag)]
        if others and tag not in others:
            yield (
                f"the direction has {' and '.join(sorted(others))}, and the file {tag}: tags of one language, and each "
                "counts as one of its own; give them one tag, unless their preferences may differ"
            )


def _sureness(found: Survey) -> str:
    """How sure the detection of languages was."""
    sums = {tag: total for tag, total in sorted(found.sureness.items()) if tag != UNSURE}
    means = ", ".join(f"{tag} {total / found.languages[tag]:.0%}" for tag, total in sums.items())
    unsure = found.languages.get(UNSURE, 0)
    return f"languages detected, with mean probability: {means or 'none'}; {unsure} rows are unsure, and are {UNSURE}"


def of_tags(languages: Iterable[str]) -> Iterator[str]:
    """What whoever filters should know of the tags of a file.

    :param languages: normalised.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for tag in sorted(languages):
        groups[base_language(tag)].append(tag)
    for tag, meant in MISTAKEN.items():
        if tag in groups:
            yield f"{tag} is {name_of(tag)}: did you mean {meant!r} ({name_of(meant)})?"
    for tags in groups.values():
        if len(tags) > 1:
            yield (
                f"{', '.join(tags[:-1])} and {tags[-1]} are tags of one language, and each counts as one of its own: "
                "give them one tag, unless their preferences may differ"
            )
    if len(groups) == 1:
        yield (
            f"all rows are in one language ({next(iter(groups))}), so there is no cross-lingual signal in them: each "
            "pair is compared with the others of its language, and what the direction has of others"
        )
