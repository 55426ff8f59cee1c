"""What the models of answers have in common."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Accepts unknown fields, so that an older client can read a newer service."""

    # Deferred: a client uses few of the models, and to build all of them takes a fifth of its start.
    model_config = ConfigDict(extra="ignore", defer_build=True)
