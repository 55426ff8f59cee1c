"""`/jobs/{id}`."""

from congrad import wire
from fastapi import APIRouter

from congrad_service.state import Congrad

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("/{job_id}")
async def get_job(state: Congrad, job_id: str) -> wire.Job:
    """Status, progress, and the result or the error once there is one."""
    return await state.jobs.get(job_id)


@router.delete("/{job_id}")
async def cancel_job(state: Congrad, job_id: str) -> wire.Job:
    """Cancels a job. One that has not been folded into its direction never will be."""
    return await state.jobs.cancel(job_id)
