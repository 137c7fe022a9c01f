"""How a stage's program ends when it is asked to stop within a Slurm job.

Slurm warns a job with USR1 some time before its end (`--signal=B:USR1@120`). By then the program has
saved its state, so the job asks to be queued again: as often as it is preempted, but a bounded
number of times for reaching its time limit. TERM is a deliberate end (`scancel`), or one
that Slurm itself follows with a requeue; the program must not requeue then.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from l3embedding.jobs.stopping import StopRequested
from l3embedding.utils.files import read_json, write_json

logger = logging.getLogger(__name__)

STOPPED = 75
"""Exit status of a program that saved and stopped: EX_TEMPFAIL, try again."""
_KILL_WAIT_S = 60.0


def end_job(stop: StopRequested, folder: Path, max_timeouts: int, record: Callable[..., None]) -> int:
    """Requeue the Slurm job that this process runs in, if it was warned; returns the exit status.

    The stage's folder counts the requeues of a job that reaches its time limit, of which there are `max_timeouts` at
    most. `record` is called with the new status of the run: requeued, stopped, or failed and the error.
    """
    logger.info("%s; what is finished is saved, and the same command resumes from there", stop)
    job_id = os.environ.get("SLURM_JOB_ID")
    if stop.signal is signal.SIGUSR1 and job_id is not None:
        # Slurm kills a job that it requeues; that TERM is no request to stop.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        refusal = _requeue(job_id, folder, max_timeouts, record)
        if refusal is None:
            logger.info("job %s is queued again", job_id)
            time.sleep(_KILL_WAIT_S)
            return STOPPED
        logger.error("error: %s", refusal)
        record("failed", error=refusal)
    else:
        record("stopped")
    return STOPPED


def _requeue(job_id: str, folder: Path, max_timeouts: int, record: Callable[..., None]) -> str | None:
    """Ask Slurm to queue the job again; returns why it could not, if so."""
    job = _show_job(job_id)
    if job is None:
        return f"scontrol cannot be run here, so job {job_id} cannot requeue itself; submit it again."
    if not was_preempted(job) and not _count_timeout(folder, job_id, max_timeouts):
        return f"job {job_id} has run into its time limit {max_timeouts} times and is not requeued; give it more time."
    record("requeued")
    requeued = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True, check=False)
    if requeued.returncode:
        return f"job {job_id} cannot be requeued: {requeued.stderr.strip()}; submit it again."
    return None


def was_preempted(job: str) -> bool:
    """Whether a job that was warned was preempted by another, from the output of `scontrol show job`."""
    found = re.search(r"\bPreemptTime=(\S+)", job)
    return found is not None and found.group(1) not in ("None", "N/A", "Unknown")


def _show_job(job_id: str) -> str | None:
    try:
        shown = subprocess.run(["scontrol", "show", "job", job_id], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return shown.stdout if shown.returncode == 0 else None


def _count_timeout(folder: Path, job_id: str, max_timeouts: int) -> bool:
    """Count a time-out of this job; False if there have been too many."""
    path = folder / "timeouts" / f"{job_id}.json"
    times = read_json(path) if path.is_file() else []
    if len(times) >= max_timeouts:
        return False
    write_json(path, [*times, time.time()])
    return True
