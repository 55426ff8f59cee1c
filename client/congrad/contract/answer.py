"""What the models of answers have in common."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Accepts unknown fields, so that an older client can read a newer service."""

    # Built at once: FastAPI's adapters would defer with it, to the first request of each route.
    model_config = ConfigDict(extra="ignore")
