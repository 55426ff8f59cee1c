"""Links of the OpenAPI document: the operations that an answer leads to, and where in it their parameters are."""

from typing import Any

Links = dict[str, dict[str, Any]]


def to_job(job_id: str) -> Links:
    """What can be asked of a job.

    :param job_id: the runtime expression of its id.
    """
    operations = ("get_job", "cancel_job", "job_events", "job_samples", "rescore_job")
    return {name: _link(name, job_id=job_id) for name in operations}


def to_direction(name: str) -> Links:
    """What can be asked of a direction.

    :param name: the runtime expression of its name.
    """
    operations = (
        "get_direction",
        "reset_direction",
        "export_direction",
        "direction_scores",
        "direction_history",
        "direction_conflicts",
    )
    return {operation: _link(operation, name=name) for operation in operations}


def _link(operation: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": parameters}
