"""What a waiting worker is told by the environment, beside the settings of the product."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class WaitingSettings(BaseSettings):
    """How fast the GPU is that it stands for."""

    model_config = SettingsConfigDict(env_prefix="WAITING_", env_ignore_empty=True)

    pair_ms_file: Path
    """Has the milliseconds that a pair takes; read for each chunk."""
    workers: int = 1
    """How many are started."""
    dim: int
    """Numbers that are kept of one gradient."""
    at_once: int = 1
    """Pairs that take as long together as one alone."""
    batch_tokens: int = 8192
    """Tokens of what is computed together."""
    together: bool = True
    """Computes requests that wait at the same time in one batch."""

    by_content: bool = False
    """Whether a pair with the same prompt is the same pair, with the same gradient, as two runs that are compared need
    it. Without, each is another."""

    @property
    def fingerprint(self) -> str:
        """That of no checkpoint."""
        return f"waiting-{self.dim}"
