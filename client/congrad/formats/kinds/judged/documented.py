"""Public data sets of two answers that have columns of their own, and whose cards say what their verdicts mean."""

from dataclasses import dataclass

from congrad.formats.paths import column_of, value_at
from congrad.formats.row_format import Roles, Row, RowFormat, Sample
from congrad.formats.verdict import FROM_ZERO, TieError, Verdict, number_of


@dataclass(frozen=True)
class Pairs:
    """Where a data set has what a pair is made of, each along a path.

    :param prompts: the first that is there counts.
    :param answers: the first and the second.
    :param verdict: what says which is better; where there are two, they are scores, of which the higher is better.
    :param meaning: of a verdict that is no scores.
    """

    prompts: tuple[str, ...]
    answers: tuple[str, str]
    verdict: tuple[str] | tuple[str, str]
    meaning: Verdict | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that these paths begin with."""
        return tuple(dict.fromkeys(map(column_of, (*self.prompts, *self.answers, *self.verdict))))

    def fit(self, row: Row) -> bool:
        """Whether a row has all of it."""
        has_texts = all(isinstance(value_at(row, path), str) for path in self.answers)
        return has_texts and self.prompt(row) is not None and all(column_of(path) in row for path in self.verdict)

    def read(self, row: Row, _: Roles) -> Sample:
        """
        :raises TieError: neither answer is preferred.
        :raises ValueError: nothing says which is.
        """
        first, second = (value_at(row, path) for path in self.answers)
        chosen, rejected = (first, second) if self._is_first(row) else (second, first)
        sample = {"prompt": self.prompt(row), "chosen": chosen, "rejected": rejected}
        return {name: value for name, value in sample.items() if value is not None}

    def prompt(self, row: Row) -> str | None:
        """The text before both answers."""
        found = (value_at(row, path) for path in self.prompts)
        return next((text for text in found if isinstance(text, str) and text), None)

    def _is_first(self, row: Row) -> bool:
        given = [value_at(row, path) for path in self.verdict]
        if self.meaning is None:
            return self._is_higher(*map(number_of, given))
        found = self.meaning.is_first(given[0])
        if found is None:
            told = f"{self.verdict[0]} is {str(given[0])[:40]!r}, which does not say which answer is better"
            raise ValueError(f"{told} ({self.meaning.meaning})")
        return found

    def _is_higher(self, first: float | None, second: float | None) -> bool:
        names = " and ".join(self.verdict)
        if first is None or second is None:
            raise ValueError(f"{names} do not say which of the two answers is better")
        if first == second:
            raise TieError(f"{names} are both {first:g}, so neither answer is preferred")
        return first > second


def _format(name: str, title: str, pairs: Pairs) -> RowFormat:
    return RowFormat(
        name=name,
        title=title,
        columns=pairs.columns,
        shape=", ".join((*pairs.prompts, *pairs.answers, *pairs.verdict)),
        fits=pairs.fit,
        read=pairs.read,
    )


SHP = _format(
    "shp",
    "the pairs of Stanford's SHP, of which human_ref_A is the better one where labels is 1",
    Pairs(("history",), ("human_ref_A", "human_ref_B"), ("labels",), Verdict("1", "0")),
)

WEBGPT = _format(
    "webgpt",
    "OpenAI's WebGPT comparisons, the better answer by score_0 and score_1",
    Pairs(("question.full_text",), ("answer_0", "answer_1"), ("score_0", "score_1")),
)

SUMMARIES = _format(
    "summaries",
    "OpenAI's comparisons of two summaries by choice, with the post alone as the prompt",
    Pairs(("info.post", "info.article"), ("summaries.0.text", "summaries.1.text"), ("choice",), FROM_ZERO),
)
"""Trainers put the post in a text of their own, which rows do not have."""

DOCUMENTED = (SHP, WEBGPT, SUMMARIES)
