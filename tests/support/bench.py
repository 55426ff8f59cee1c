"""Jobs over a real Redis, step by step without Celery."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

from congrad.contract import wire
from congrad_service.directions.directions import Directions
from congrad_service.jobs.jobs import Jobs
from congrad_service.settings import ServiceSettings
from congrad_worker.activity import Activity
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.tasks.chunks import ChunkProcessor
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis

from support.models import DEMO_CHECKPOINT, engine
from support.pairs import demo_samples
from support.scoring import RULES

SERVED = wire.Checkpoint(
    name="demo", fingerprint="f00d", loss="sigmoid", beta=0.1, reference="policy",
    projection=wire.Projection(kind="kronecker", rank=64, dim=16_384, seed=0), target_modules=None, modules=21,
    coverage=0.99,
    shared_prompts=True,
    max_length=1024, dtype="float32", devices=["cpu"], workers=1,
)  # fmt: skip


@cache
def _loaded() -> tuple[Encoder, GradientEngine]:
    """Once in a process: to load it and to verify its engine takes longer than what most tests do with it."""
    loaded = engine(DEMO_CHECKPOINT)
    return Encoder(loaded.checkpoint.tokenizer, 1024), loaded


def _hands() -> tuple[Encoder, GradientEngine]:
    """With an engine that has counted nothing, and that a test may replace parts of."""
    encoder, loaded = _loaded()
    own = loaded.restricted(loaded.layouts)
    own.activity = Activity()
    return encoder, own


class Bench:
    """A job store, a gradients worker's hands and a decide worker's, without the queue between them.

    :param hands: what takes the place of a checkpoint, where gradients are not what is looked at.
    :param options: settings of all of them.
    """

    def __init__(self, redis_url: str, hands: tuple[Any, Any] | None = None, **options: Any):
        self.settings = ServiceSettings.model_validate({"redis_url": redis_url, "chunk_tokens": 200, **options})
        self.store = Store(self.settings)
        self.processor = ChunkProcessor(self.store, *(hands or _hands()))
        self.judge = Judge(self.store, RULES)

    def create(self, fingerprint: str = "f00d", **body: Any) -> tuple[str, int]:
        request = wire.FilterRequest.model_validate({"samples": demo_samples("de", "fr", each=3), **body})
        served = SERVED.model_copy(update={"fingerprint": fingerprint})
        accepted = self._with(lambda redis: Jobs(redis, self.settings).create(request, served, None))
        return accepted.job_id, accepted.chunks

    def rescore(self, job_id: str, **body: Any) -> str:
        """The id of a new job that scores the samples of another again."""
        request = wire.RescoreRequest.model_validate(body)
        accepted = self._with(lambda redis: Jobs(redis, self.settings).create_rescoring(job_id, request, None))
        return str(accepted.job_id)

    def result(self, job_id: str) -> wire.FilterResult:
        result = self.job(job_id).result
        assert result is not None
        return result

    def job(self, job_id: str) -> wire.Job:
        job: wire.Job = self._with(lambda redis: Jobs(redis, self.settings).get(job_id))
        return job

    def cancel(self, job_id: str) -> None:
        self._with(lambda redis: Jobs(redis, self.settings).cancel(job_id))

    def export(self, name: str = "default") -> bytes:
        state: bytes = self._with(lambda redis: Directions(redis).export(name))
        return state

    def replace(self, name: str, state: bytes) -> None:
        self._with(lambda redis: Directions(redis).replace(name, state, {}, 256))

    def reset(self, name: str = "default") -> None:
        self._with(lambda redis: Directions(redis).reset(name))

    def run(self, job_id: str, chunks: int) -> wire.Job:
        for number in range(chunks):
            self.processor.process(job_id, number)
        self.judge.settle(job_id)
        return self.job(job_id)

    def _with(self, call: Callable[[Redis], Any]) -> Any:
        async def connected() -> Any:
            redis = Redis.from_url(self.settings.redis_url)
            try:
                return await call(redis)
            finally:
                await redis.aclose()

        return asyncio.run(connected())
