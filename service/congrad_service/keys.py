"""Every key in Redis, every queue and every task name. Nothing else in the project composes one.

congrad:job:ID                 hash    state of a job: see `jobs.py`
congrad:job:ID:pending         set     numbers of the chunks whose gradients are missing
congrad:job:ID:chunk:N         string  the samples of a chunk, JSON; gone when the job ends, unless texts are kept, or
                                       it was given up and may be tried again
congrad:job:ID:gradients:N     string  the compressed gradients of a chunk, safetensors, or the name of a file in the
                                       gradient store that has them; gone when the job ends, unless they are retained
congrad:job:ID:ready           list    numbers of the chunks that no worker has taken
congrad:ready:QUEUE            zset    jobs with work in a queue that no worker has taken: see `turns.lua`
congrad:ready:QUEUE:told       list    work has come where there was none: a worker with nothing to do waits for it
congrad:turns:QUEUE            hash    whose turn it is there, likewise
congrad:sequence               string  how many jobs there have been
congrad:jobs:active            zset    unfinished jobs by time of creation
congrad:retained               zset    jobs without a team whose gradients are retained, `ID:BYTES`, by when that ends;
                                       congrad:retained:TEAM those of a team
congrad:stored                 zset    jobs that have files in the gradient store, by when these may go; `ID:again` one
                                       whose folder was looked at then, by when it is once more
congrad:freeing                string  there while a decide worker takes them away
congrad:jobs:recent            zset    the latest jobs without a team, by time of creation, whatever became of them;
                                       congrad:jobs:recent:TEAM those of a team
congrad:jobs:failed            zset    likewise the latest that failed, by when they did; congrad:jobs:failed:TEAM those
                                       of a team
congrad:given-up               zset    failed jobs whose samples are kept for another try, `ID:CHUNKS:BYTES`, by when
                                       that ends
congrad:held:KEY               string  how many members congrad:retained or congrad:given-up has, and the bytes of
                                       all of them, `COUNT:BYTES`
congrad:idempotency:DIGEST     hash    job and body digest of an Idempotency-Key; TEAM/DIGEST for that of a team
congrad:directions             set     names, those of a team qualified: see `teams.py`
congrad:direction:NAME         hash    a running direction, likewise: see `directions.py`
congrad:history:NAME           list    a `wire.HistoryEntry` for each of its latest versions, JSON, the oldest first
congrad:conflicts:NAME         hash    pairs that were folded in and have a score, and were dropped: TAG how many,
                                       TAG:OTHER how many of them conflict with OTHER
congrad:pairs:NAME             hash    the pairs that it remembers: see `remembered.py`
congrad:writer:NAME            string  the decide worker that is about to write the direction: others wait; gone when
                                       that falls silent
congrad:work:FINGERPRINT       zset    chunks whose gradients are missing, waiting or being computed, `ID:N`, by when
                                       their jobs were created: all work for the workers of a checkpoint
congrad:known                  hash    checkpoints that workers have announced, by fingerprint: each a
                                       `registry.Announcement`, JSON; see `known.py`
congrad:known:seen             zset    when a worker was heard last that serves them
congrad:workers:ROLE           zset    live workers of a role by time of the last heartbeat
congrad:worker:ID              string  what a worker serves and how it is doing: a `registry.Beat`, JSON
congrad:worker:ID:told         list    something for the worker to look at: it waits for that
congrad:worker:ID:order        string  what it was told last, to sleep or to wake: an `orders.Order`, JSON
congrad:orders                 string  how many orders there have been
congrad:publication:ID         hash    a checkpoint on its way into workers: see `publications.py`
congrad:publishing:FINGERPRINT string  the id of the one that takes the place of that checkpoint
congrad:published              hash    what the workers that were started on a checkpoint serve by now in its place, by
                                       its fingerprint: a `publications.Successor`, JSON
congrad:job:ID:doing:WORK      string  the worker that is at a piece of work; gone when that falls silent
congrad:recovery               string  there while a service process looks for lost work
congrad:events                 channel state changes of jobs, their creation the first
"""

NONE = "congrad:none"
"""Never there: for a script that has no use for one of its keys. Redis's access lists know no empty key."""

JOBS_ACTIVE = "congrad:jobs:active"
GIVEN_UP = "congrad:given-up"
HELD = "congrad:held:"
DIRECTIONS = "congrad:directions"
EVENTS = "congrad:events"
KNOWN = "congrad:known"
KNOWN_SEEN = "congrad:known:seen"
RECOVERY = "congrad:recovery"
SEQUENCE = "congrad:sequence"
ORDERS = "congrad:orders"
PUBLISHED = "congrad:published"
STORED = "congrad:stored"
AGAIN = ":again"
TOLD = ":told"
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


def waking(queue: str) -> str:
    """What a worker that has nothing to do waits for."""
    return turns(queue)[0] + TOLD


def work(job_id: str, count: int) -> list[str]:
    """What the gradients are made from: worth nothing once they are there. The pending set is the first."""
    return [*remainder(job_id), *chunks(job_id, count)]


def remainder(job_id: str) -> list[str]:
    """What of its work nobody has done, or taken."""
    return [pending(job_id), ready_chunks(job_id)]


def recent_jobs(team: str | None) -> str:
    return "congrad:jobs:recent" if team is None else f"congrad:jobs:recent:{team}"


def failed_jobs(team: str | None) -> str:
    return "congrad:jobs:failed" if team is None else f"congrad:jobs:failed:{team}"


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


def writer(name: str) -> str:
    return f"congrad:writer:{name}"


def life(name: str) -> list[str]:
    """All that there is of a direction, which begins and ends together. The direction is the first."""
    return [direction(name), history(name), conflicts(name), pairs(name)]


def workers(role: str) -> str:
    return f"congrad:workers:{role}"


def worker(worker_id: str) -> str:
    return f"congrad:worker:{worker_id}"


def unfinished(fingerprint: str) -> str:
    """What is to be done with a checkpoint, and not done. An autoscaler counts it; the queue has no more of what a
    worker is at."""
    return f"congrad:work:{fingerprint}"


def told(worker_id: str) -> str:
    return f"congrad:worker:{worker_id}:told"


def order(worker_id: str) -> str:
    return f"congrad:worker:{worker_id}:order"


def publication(publication_id: str) -> str:
    return f"congrad:publication:{publication_id}"


def publishing(fingerprint: str) -> str:
    return f"congrad:publishing:{fingerprint}"


def gradients_queue(fingerprint: str) -> str:
    """The queue of the workers that serve one checkpoint under one set of gradient settings."""
    return f"congrad.gradients.{fingerprint}"
