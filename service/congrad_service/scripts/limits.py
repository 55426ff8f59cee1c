"""How much of what scripts keep, and for how long."""

RECENT = 500
"""Jobs of a team that are listed."""

GIVEN_UP_BYTES = 256 * 2**20
"""Of the texts that are kept so that failed jobs can be tried again; the oldest make room."""

FAULTY = 500
"""From this status on a job has failed for no fault of the request's."""

HISTORY = 1000
"""Versions of a direction whose history is kept."""

TOLD_S = 5
"""For how long a worker may take note of work by itself. Afterwards it is the message's."""
