"""Every key in Redis, every queue and every task name. Nothing else in the project composes one.

congrad:job:ID                 hash    state of a job: see `jobs.py`
congrad:job:ID:pending         set     numbers of the chunks whose gradients are missing
congrad:job:ID:chunk:N         string  the samples of a chunk, JSON; gone when the job ends, unless texts are kept
congrad:job:ID:gradients:N     string  the compressed gradients of a chunk, safetensors, or the name of a file in the
                                       gradient store that has them; gone when the job ends, unless they are retained
congrad:job:ID:ready           list    numbers of the chunks that no worker has taken
congrad:ready:QUEUE            zset    jobs with work in a queue that no worker has taken: see `turns.py`
congrad:turns:QUEUE            hash    whose turn it is there, likewise
congrad:sequence               string  how many jobs there have been
congrad:jobs:active            zset    unfinished jobs by time of creation
congrad:retained               zset    jobs without a team whose gradients are retained, `ID:BYTES`, by when that ends;
                                       congrad:retained:TEAM those of a team
congrad:stored                 zset    jobs that have files in the gradient store, by when these may go
congrad:freeing                string  there while a decide worker takes them away
congrad:jobs:recent            zset    the latest jobs without a team, by time of creation, whatever became of them;
                                       congrad:jobs:recent:TEAM those of a team
congrad:idempotency:DIGEST     hash    job and body digest of an Idempotency-Key; TEAM/DIGEST for that of a team
congrad:directions             set     names, those of a team qualified: see `teams.py`
congrad:direction:NAME         hash    a running direction, likewise: see `directions.py`
congrad:history:NAME           list    a `wire.HistoryEntry` for each of its latest versions, JSON, the oldest first
congrad:conflicts:NAME         hash    pairs that were folded in and have a score, and were dropped: TAG how many,
                                       TAG:OTHER how many of them conflict with OTHER
congrad:pairs:NAME             hash    the pairs that it remembers: see `remembered.py`
congrad:workers:ROLE           zset    live workers of a role by time of the last heartbeat
congrad:worker:ID              string  what a worker serves and how it is doing: a `registry.Beat`, JSON
congrad:job:ID:doing:WORK      string  the worker that is at a piece of work; gone when that falls silent
congrad:recovery               string  there while a service process looks for lost work
congrad:events                 channel state changes of jobs, their creation the first
"""

NONE = "congrad:none"
"""Never there: for a script that has no use for one of its keys. Redis's access lists know no empty key."""

JOBS_ACTIVE = "congrad:jobs:active"
DIRECTIONS = "congrad:directions"
EVENTS = "congrad:events"
RECOVERY = "congrad:recovery"
SEQUENCE = "congrad:sequence"
STORED = "congrad:stored"
FREEING = "congrad:freeing"

GRADIENTS_TASK = "congrad.gradients"
DECIDE_TASK = "congrad.decide"
DECIDE_QUEUE = "congrad.decide"

DECIDE_WORK = "decide"
"""The name of a decision in a job's hash, where `gradients_work` names a chunk."""


def gradients_work(number: int) -> str:
    return f"gradients:{number}"


def job(job_id: str) -> str:
    return f"congrad:job:{job_id}"


def pending(job_id: str) -> str:
    return f"congrad:job:{job_id}:pending"


def chunk(job_id: str, number: int) -> str:
    return f"congrad:job:{job_id}:chunk:{number}"


def chunks(job_id: str, count: int) -> list[str]:
    """The samples of all chunks, in their order."""
    return [chunk(job_id, number) for number in range(count)]


def gradients(job_id: str, number: int) -> str:
    return f"congrad:job:{job_id}:gradients:{number}"


def all_gradients(job_id: str, count: int) -> list[str]:
    """The gradients of all chunks, in their order."""
    return [gradients(job_id, number) for number in range(count)]


def doing(job_id: str, work: str) -> str:
    return f"congrad:job:{job_id}:doing:{work}"


def ready_chunks(job_id: str) -> str:
    return f"congrad:job:{job_id}:ready"


def turns(queue: str) -> list[str]:
    """The work in a queue that nobody has taken, and whose turn it is."""
    return [f"congrad:ready:{queue}", f"congrad:turns:{queue}"]


def work(job_id: str, count: int) -> list[str]:
    """What the gradients are made from: worth nothing once they are there. The pending set is the first."""
    return [pending(job_id), ready_chunks(job_id), *chunks(job_id, count)]


def recent_jobs(team: str | None) -> str:
    return "congrad:jobs:recent" if team is None else f"congrad:jobs:recent:{team}"


def retained(team: str | None) -> str:
    return "congrad:retained" if team is None else f"congrad:retained:{team}"


def idempotency(digest: str) -> str:
    return f"congrad:idempotency:{digest}"


def direction(name: str) -> str:
    return f"congrad:direction:{name}"


def history(name: str) -> str:
    return f"congrad:history:{name}"


def conflicts(name: str) -> str:
    return f"congrad:conflicts:{name}"


def pairs(name: str) -> str:
    return f"congrad:pairs:{name}"


def life(name: str) -> list[str]:
    """All that there is of a direction, which begins and ends together. The direction is the first."""
    return [direction(name), history(name), conflicts(name), pairs(name)]


def workers(role: str) -> str:
    return f"congrad:workers:{role}"


def worker(worker_id: str) -> str:
    return f"congrad:worker:{worker_id}"


def gradients_queue(fingerprint: str) -> str:
    """The queue of the workers that serve one checkpoint under one set of gradient settings."""
    return f"congrad.gradients.{fingerprint}"
