"""What a run of the loop is told, by a TOML file."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ImportString, PositiveFloat, PositiveInt

Reward = Callable[[str, str, str], float]
"""The worth of an answer: language, prompt, answer."""


class Settings(BaseModel):
    """A key that is not among these is an error. The defaults are ours; the paper does not state its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """The checkpoint to start from: a folder or a name on the hub, with a chat template."""
    prompts: Path
    """JSON Lines with ``language`` and ``prompt``; other fields are not looked at."""
    seen: list[str] | None = None
    """The languages to train on; the others are evaluated only. Default: all."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    seed: int = 0

    prompts_per_round: PositiveInt = 200
    """Of each seen language; drawn anew for each round."""
    held_out: PositiveInt = 50
    """Of each language, its last ones: for evaluation."""
    candidates: Annotated[int, Field(ge=2)] = 4
    """Answers to each prompt."""
    max_new_tokens: PositiveInt = 512
    temperature: PositiveFloat = 1.0
    batch_size: PositiveInt = 8
    """Prompts that are answered at once."""
    reward: ImportString[Reward] | None = None
    """``module.function``; default: the model judges its own answers."""
    min_gap: Annotated[float, Field(ge=0)] = 0.0
    """A best answer that is not better than the worst by more than this is a tie, and no pair."""

    selection: dict[str, Any] = {"kind": "threshold", "max_conflict": 0.0}
    beta: PositiveFloat = 0.1
    length_penalty: Annotated[float, Field(ge=0)] = 0.01
    """α of the loss, for each token; see `training`."""
    max_length: PositiveInt = 1024
    """Tokens of a prompt with an answer, in training and for the workers."""
    lora_rank: PositiveInt = 16
    learning_rate: PositiveFloat = 1e-5
    train_batch_size: PositiveInt = 4
    accumulation: PositiveInt = 4

    workers: PositiveInt = 1
    """Gradients workers of the loop's own stack, one for each GPU."""
    url: str | None = None
    """A service elsewhere, see `workers`. Default: the loop starts a stack of its own."""


def read_settings(path: Path) -> Settings:
    """:raises pydantic.ValidationError: the file says what is not in `Settings`."""
    return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
