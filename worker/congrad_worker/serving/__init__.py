"""What the process of a gradients worker has in memory, and how that changes while it runs.

`resident` holds the checkpoint, under a lock. A task takes the lock, wakes what is asleep, takes pieces of work from
the queue of exactly that checkpoint, and lets go. `steward` is a thread that waits to be told of something (a list in
Redis of the worker's own, and every second it looks by itself), and changes what is in memory, under the same lock:
a batch is computed against one checkpoint, whenever its message came.

**A publication** (`congrad_service.queue.publication`) is found under the fingerprint that is served. The steward looks
at the files and says the new fingerprint, from when on jobs may ask for it and wait; lets pass what waited for the old
checkpoint when it was asked for; and takes the lock. A plain LoRA adapter is taken off its base and the new one put on;
anything else takes the whole place of what was there. The engine is verified as at a start. Then, in this order: the
successor is written down in Redis, the parent is told the new queue, the heartbeat announces it. Where anything fails
before that, what was there is put back, and the publication says why.

**Killed.** A worker begins by looking for the successor of the checkpoint that its settings name. So one that is killed
comes back with the new checkpoint if that was announced by any worker of the same settings, and with the old one if it
was not; in that case it finds the publication again, and goes on with it. What kills `MAX_DEATHS` workers is given up.

**Late work** (`late_work`). A job for the old checkpoint may be accepted until the new one is announced, and so while
it loads. It is in the old queue, and the new one's worker goes back for it, where no other worker serves the old one
any more: with the old adapter, which is kept for that, or with the old files. A message of the old queue that still
arrives is dropped, since only pieces of the queue that is served are ever begun; when nothing waits there, the broker
forgets the queue.

**Sleep.** `offload` moves the weights to the host's memory, `discard` drops them; the engine, with its projections, is
made anew on waking, from the same seeds, and computes the same: to the last bit on a CPU, to rounding on a GPU. Whoever
takes the lock for work wakes first.
"""
