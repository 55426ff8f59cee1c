"""When work that is under way is no longer wanted: its job has ended, or it has taken too long."""

import time
from collections.abc import Collection

from redis.exceptions import RedisError

from congrad_worker.errors import WorkerError
from congrad_worker.tasks.store import Store

DECISION_S = 60.0
"""A decision may take so long. The largest that is accepted takes a few seconds; everybody else's waits for it."""

LOOK_S = 0.25
"""Between two looks at a job."""

AWAY_S = 30.0
"""Until the next look where Redis is away: to ask it takes seconds then, in which nothing is computed."""

PAUSE_S = 0.01
"""Of one that waits for others: a hundredth of what a request of a thousand samples takes."""


class Abandoned(Exception):  # nothing is wrong
    """The job has ended meanwhile."""


class TooSlow(WorkerError):  # as it reads where it is caught
    """It has taken longer than anything that is accepted should."""


class Patience:
    """Ends one decision where there is no use in going on."""

    def __init__(self, store: Store, job_id: str):
        self._store = store
        self._job_id = job_id
        self._begun = self._looked = time.monotonic()

    def pause(self) -> None:
        """Waits for a moment, which does not count.

        :raises Abandoned: as below.
        """
        time.sleep(PAUSE_S)
        self._begun += PAUSE_S
        self()

    def __call__(self) -> None:
        """Called between the steps of a decision.

        :raises Abandoned: the job was cancelled, or has ended otherwise.
        :raises TooSlow: it has taken longer than `DECISION_S`.
        """
        now = time.monotonic()
        if now - self._begun > DECISION_S:
            raise TooSlow(f"the decision has not ended within {DECISION_S:g} s")
        if now - self._looked > LOOK_S:
            self._looked = now
            if self._store.has_ended(self._job_id):
                raise Abandoned


class Demand:
    """Ends the computation of gradients that nobody waits for any more."""

    def __init__(self, store: Store, jobs: Collection[str]):
        self._store = store
        self._jobs = set(jobs)
        self._next = time.monotonic() + LOOK_S

    def __call__(self) -> None:
        """Called between micro-batches.

        :raises Abandoned: all jobs that it is for were cancelled, or have ended otherwise.
        """
        if time.monotonic() < self._next:
            return
        try:
            self._jobs -= {job_id for job_id in self._jobs if self._store.has_ended(job_id)}
            pause = LOOK_S
        except RedisError:
            pause = AWAY_S
        if not self._jobs:
            raise Abandoned
        self._next = time.monotonic() + pause
