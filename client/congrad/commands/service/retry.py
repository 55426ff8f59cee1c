"""`congrad retry`: jobs that were given up, once more."""

from typing import Annotated

import typer

from congrad.client import Client
from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import FAILED, WRONG, explained, fail, fail_with, print_json, say
from congrad.contract import wire
from congrad.errors import CongradError
from congrad.protocol.base_client import DEFAULT_BASE_URL

MOST = 500
"""Failed jobs that the service remembers."""


def retry(
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Ids of jobs that failed.")] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All that can be tried again.")] = False,
    url: Url = DEFAULT_BASE_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Tries jobs again that were given up, with the same samples, and does not wait for their decisions.

    `congrad status` lists them. Twice is once: a job is tried again as one other.
    """
    if bool(jobs) == all_of_them:
        fail("name jobs, or say --all", WRONG)
    problems: dict[str, str] = {}
    made: dict[str, wire.Job] = {}
    with connect(url, api_key) as client:
        for job_id in jobs or _all(client):
            try:
                made[job_id] = client.jobs.retry(job_id)
            except CongradError as error:  # the others may be taken
                problems[job_id] = explained(error)
    if as_json:
        print_json({"retried": {job_id: job.id for job_id, job in made.items()}, "problems": problems})
    for job_id, job in made.items():
        say(f"{job_id}: is tried again as {job.id}")
    for job_id, problem in problems.items():
        say(f"{job_id}: {problem}")
    if problems:
        raise typer.Exit(FAILED)


def _all(client: Client) -> list[str]:
    try:
        return [job.id for job in client.jobs.list(MOST, status=wire.JobStatus.FAILED) if job.can_be_retried]
    except CongradError as error:
        fail_with(error)
