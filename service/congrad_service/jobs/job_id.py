"""The ids of jobs: what the service makes of them, and what it takes for one."""

import re
import uuid
from typing import Annotated

from fastapi import Depends

from congrad_service.http.errors import NotFound

FORM = re.compile("[0-9a-f]{32}")


def new_job_id() -> str:
    """An id that no other job has."""
    return uuid.uuid4().hex


async def _of_the_form(job_id: str) -> str:
    """:raises NotFound: no job has such an id; with a suffix it could be the key of another type in Redis."""
    if FORM.fullmatch(job_id) is None:
        raise NotFound(f"there is no job {job_id!r}; a job's id has 32 hexadecimal digits")
    return job_id


JobId = Annotated[str, Depends(_of_the_form)]
"""The id in a route's path, checked before Redis is asked for it."""
