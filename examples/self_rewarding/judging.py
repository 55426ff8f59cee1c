"""Answers are scored, and the scores make preference pairs."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean

from pydantic import BaseModel

from .policy import Policy
from .prompts import Answer, Answered, Prompt
from .settings import Reward, Settings

Grade = Callable[[Prompt, Sequence[str]], list[float]]


class Message(BaseModel):
    """A turn of a conversation."""

    role: str
    content: str


class Pair(BaseModel):
    """A preference pair, with the fields of `congrad.Sample` and TRL's columns."""

    language: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


def judge(answered: Sequence[Answered], checkpoint: str, settings: Settings) -> list[Answered]:
    """Scores all answers: with the reward function, or else with a checkpoint that is asked for grades."""
    grade = _function(settings.reward) if settings.reward else Policy(checkpoint, settings).grade
    return [_judged(one, grade) for one in answered]


def _function(reward: Reward) -> Grade:
    return lambda prompt, answers: [reward(prompt.language, prompt.prompt, answer) for answer in answers]


def _judged(answered: Answered, grade: Grade) -> Answered:
    scores = grade(answered, [answer.text for answer in answered.answers])
    scored = zip(answered.answers, scores, strict=True)
    return answered.model_copy(
        update={"answers": [answer.model_copy(update={"score": score}) for answer, score in scored]}
    )


def best_against_worst(judged: Sequence[Answered], min_gap: float) -> list[Pair]:
    """A pair of each prompt, unless its best and worst answers are a tie.

    An answer that was cut off is in no pair: training would teach the model to end there.
    """
    pairs = []
    for prompt in judged:
        scores = {answer.text: _score(answer) for answer in prompt.answers if answer.finished and answer.text}
        if scores:
            best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
            if scores[best] - scores[worst] > min_gap:
                pairs.append(_pair(prompt, best, worst))
    return pairs


def mean_scores(judged: Sequence[Answered]) -> dict[str, float]:
    """The mean score of the answers in each language."""
    scores: dict[str, list[float]] = defaultdict(list)
    for prompt in judged:
        scores[prompt.language] += [_score(answer) for answer in prompt.answers]
    return {language: fmean(own) for language, own in scores.items()}


def _score(answer: Answer) -> float:
    if answer.score is None:
        raise ValueError("the answer has not been judged")
    return answer.score


def _pair(prompt: Prompt, best: str, worst: str) -> Pair:
    return Pair(
        language=prompt.language,
        prompt=[Message(role="user", content=prompt.prompt)],
        chosen=[Message(role="assistant", content=best)],
        rejected=[Message(role="assistant", content=worst)],
    )
