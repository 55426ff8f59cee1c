"""Prompts and their answers, and which of them a round works on."""

import json
import random
from collections import defaultdict
from pathlib import Path

from congrad.contract.tags.languages import normalise_language
from pydantic import BaseModel

from .settings import Settings


class Prompt(BaseModel):
    """A prompt, as text."""

    language: str
    prompt: str


class Answer(BaseModel):
    """An answer of the model. One that the limit of tokens cut off is not ``finished``."""

    text: str
    finished: bool
    score: float | None = None


class Answered(Prompt):
    """A prompt with the candidates for its answer."""

    answers: list[Answer]


class Prompts:
    """The prompts of a file; the last ``held_out`` of each language are not trained on."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._training: dict[str, list[Prompt]] = {}
        self.held_out: list[Prompt] = []
        for language, prompts in sorted(_by_language(settings.prompts).items()):
            if settings.seen is None or language in settings.seen:
                self._training[language] = prompts[: -settings.held_out]
            self.held_out += prompts[-settings.held_out :]

    def of_round(self, number: int) -> list[Prompt]:
        """A draw of ``prompts_per_round`` of each seen language, all of them where there are fewer."""
        draw = random.Random(f"{self._settings.seed} {number}")  # noqa: S311 # no secret
        return [
            prompt
            for prompts in self._training.values()
            for prompt in draw.sample(prompts, min(self._settings.prompts_per_round, len(prompts)))
        ]


def _by_language(path: Path) -> dict[str, list[Prompt]]:
    prompts = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            language = normalise_language(row["language"])  # as the service will name it
            prompts[language].append(Prompt(language=language, prompt=row["prompt"]))
    return prompts
