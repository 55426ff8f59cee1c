"""What a round says about itself."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from .workers import Filtered


class LanguageReport(BaseModel):
    """A language of a round: ``opposes`` are those whose gradients oppose its own, ``judged`` the mean score of answers
    to held-out prompts. An unseen language has no pairs."""

    pairs: int
    kept: int
    mean_conflict: float | None
    opposes: list[str]
    judged_before: float
    judged_after: float


class Report(BaseModel):
    """A round; ``fingerprint`` is of the checkpoint that it began with, as the workers served it.

    ``opposed_before`` is the share of ordered pairs of languages whose gradients oppose each other, and
    ``opposed_after`` that where the first of the two has been de-conflicted.
    """

    number: int
    fingerprint: str
    prompts: int
    opposed_before: float
    opposed_after: float
    languages: dict[str, LanguageReport]

    @property
    def pairs(self) -> int:
        """Pairs of all languages."""
        return sum(language.pairs for language in self.languages.values())

    @property
    def kept(self) -> int:
        """Those that were trained on."""
        return sum(language.kept for language in self.languages.values())


def report(number: int, prompts: int, filtered: Filtered, before: dict[str, float], after: dict[str, float]) -> Report:
    """:param before: mean scores by language, of the checkpoint that the round began with.
    :param after: of the one that it trained.
    """
    direction = filtered.direction
    return Report(
        number=number,
        fingerprint=direction.fingerprint,
        prompts=prompts,
        opposed_before=_opposed(direction.cosines_before),
        opposed_after=_opposed(direction.cosines_after),
        languages={tag: _language(tag, filtered, before[tag], after[tag]) for tag in before},
    )


def _opposed(cosines: Sequence[Sequence[float]]) -> float:
    """The share of negative cosines, [languages, languages] without the diagonal."""
    others = [cosine < 0 for i, row in enumerate(cosines) for j, cosine in enumerate(row) if i != j]
    return sum(others) / max(len(others), 1)


def _language(tag: str, filtered: Filtered, before: float, after: float) -> LanguageReport:
    own = [decision for decision in filtered.decisions if decision.language == tag]
    scores = [decision.conflict_score for decision in own if decision.conflict_score is not None]
    tags = list(filtered.direction.languages)
    cosines = filtered.direction.cosines_before[tags.index(tag)] if tag in tags else []
    return LanguageReport(
        pairs=len(own),
        kept=sum(decision.keep for decision in own),
        mean_conflict=fmean(scores) if scores else None,
        opposes=[other for other, cosine in zip(tags, cosines, strict=False) if cosine < 0],
        judged_before=before,
        judged_after=after,
    )


def print_report(given: Report, console: Console) -> None:
    """A line for each language, and one for all."""
    table = Table(title=f"Round {given.number}")
    table.add_column("language")
    for name in ("pairs", "kept", "conflict"):
        table.add_column(name, justify="right")
    table.add_column("opposes")
    for name in ("judged before", "after"):
        table.add_column(name, justify="right")
    for tag, own in given.languages.items():
        conflict = "-" if own.mean_conflict is None else f"{own.mean_conflict:+.3f}"
        judged = (f"{own.judged_before:.3f}", f"{own.judged_after:.3f}")
        table.add_row(tag, str(own.pairs), str(own.kept), conflict, " ".join(own.opposes), *judged)
    console.print(table)
    before, after = (fmean(scores) for scores in _judged(given))
    console.print(
        f"round {given.number}: kept {given.kept} of {given.pairs} pairs from {given.prompts} prompts; "
        f"opposed languages {given.opposed_before:.0%}, after surgery {given.opposed_after:.0%}; "
        f"judged {before:.3f}, then {after:.3f}",
        soft_wrap=True,
    )


def _judged(given: Report) -> tuple[list[float], list[float]]:
    languages = given.languages.values()
    return [own.judged_before for own in languages], [own.judged_after for own in languages]
