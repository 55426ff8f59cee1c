"""What is said of a file's languages before anything is sent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from congrad.contract.tags.languages import UNSURE, base_language
from congrad.files.samples import Survey


def notices(found: Survey) -> Iterator[str]:
    """What whoever filters should know of the rows of a file, and of their languages."""
    if ties := found.bad.ties:
        yield f"{ties} {'ties' if ties > 1 else 'tie'} left out: neither answer is preferred"
    if found.sureness:
        yield _sureness(found)
    yield from of_tags(found.languages)


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
    for tags in groups.values():
        if len(tags) > 1:
            yield (
                f"{', '.join(tags[:-1])} and {tags[-1]} are tags of one language, and each counts as one of its own: "
                "give them one tag, unless their preferences may differ"
            )
    if len(groups) == 1:
        yield (
            f"all rows are in one language ({next(iter(groups))}), so there is no cross-lingual signal in them: each "
            "pair is compared with the others of its language"
        )
