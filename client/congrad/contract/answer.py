"""What the models of answers have in common."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Accepts unknown fields, so that an older client can read a newer service."""

    model_config = ConfigDict(extra="ignore")
