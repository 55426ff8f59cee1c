"""One writer of a direction at a time: jobs that fold into the same one are decided one after the other.

Each is compared with the version that the one before it has made, so that a second worker which began before that one
had ended would do its work for nothing. It waits instead, with the gradients of its job read by then: that is half of
what a decision costs where they are in Redis, and goes on beside the other's. Jobs that change no direction wait for
nobody.
"""

from congrad_worker.tasks.patience import DECISION_S, PAUSE_S, Patience
from congrad_worker.tasks.records import JobRecord
from congrad_worker.tasks.store import Store

MOST_PAUSES = int(DECISION_S / PAUSE_S)
"""After these it goes on beside the other: whoever commits second begins again, and nothing is lost but time."""


def may_be_another(store: Store, job: JobRecord, patience: Patience) -> bool:
    """Waits until this worker is the one that writes the job's direction; whether another may have written it since the
    decision was started.

    :raises Abandoned: the job has ended meanwhile.
    """
    if store.leases.writes(job.direction):  # since then
        return False
    for _ in range(MOST_PAUSES):
        if store.leases.may_write(job.id, job.direction):
            break
        patience.pause()
    return True
