"""`congrad status`: whether the service is ready, what it serves, which directions it has, and what was given up."""

from contextlib import closing
from typing import TypeVar

import httpx
import typer

from congrad.commands.terminal.options import ApiKey, AsJson, Url, connect
from congrad.commands.terminal.output import DONE, FAILED, UNAUTHORIZED_HINT, explained, out, print_json, say
from congrad.commands.terminal.probe import TIMEOUT_S, Probe, readiness
from congrad.contract import wire
from congrad.errors import CongradError
from congrad.protocol.base_client import DEFAULT_BASE_URL
from congrad.showing.tables import checkpoints_table, directions_table, failed_table

T = TypeVar("T")

FAILED_JOBS = 20
"""The latest are shown."""


def status(url: Url = DEFAULT_BASE_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Says whether the service is ready, which checkpoints it serves, which directions it has, and which jobs failed.

    The exit status is 0 if it is ready, and 1 if not.
    """
    with connect(url, api_key, timeout=TIMEOUT_S, max_retries=0) as client:
        with closing(Probe(client.base_url, api_key)) as probe:
            ready = probe.get("/readyz")
        problem, unknown = ready.problem, ready.status == httpx.codes.UNAUTHORIZED
        checkpoints: list[wire.Checkpoint] | None = None
        directions: list[wire.DirectionSummary] | None = None
        failed: list[wire.JobSummary] | None = None
        try:
            checkpoints = client.checkpoints()
            directions = client.directions.list()
            failed = client.jobs.list(FAILED_JOBS, status=wire.JobStatus.FAILED)
        except CongradError as error:  # a service without Redis answers, and has neither
            problem = problem or explained(error)
    if as_json:
        shown = {"url": client.base_url, "ready": problem is None, "problem": problem}
        print_json(shown | {"checkpoints": checkpoints, "directions": directions, "failed": failed})
    else:
        state = (
            f"ready; {readiness(ready.body)}"
            if problem is None
            else f"{'cannot be seen' if unknown else 'not ready'}: {problem}"
        )
        out.print(f"{client.base_url}: {state}", markup=False, soft_wrap=True)
        if checkpoints:
            out.print(checkpoints_table(checkpoints))
        if directions:
            out.print(directions_table(directions))
        if failed:
            out.print(failed_table(failed))
            if any(job.can_be_retried for job in failed):
                say("`congrad retry JOB` or `congrad retry --all` tries those again whose samples are kept")
    if unknown:
        say(UNAUTHORIZED_HINT)
    elif problem is not None:
        say("`congrad doctor` looks closer")
    raise typer.Exit(DONE if problem is None else FAILED)
