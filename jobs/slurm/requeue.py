"""What a stage's program does when it is asked to stop within a Slurm job.

Slurm warns a job with USR1 some time before its end (`--signal=B:USR1@120`). By then the program has
saved where it stands, so the job asks to be queued again: as often as it is preempted, but a bounded
number of times for running into its time limit. TERM is the end that somebody wants (`scancel`), or
that Slurm itself follows with a requeue; nobody else must requeue then.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from data.files import read_json, write_json
from jobs.stopping import StopRequested

logger = logging.getLogger(__name__)

STOPPED = 75
"""Exit status of a program that saved and stopped: EX_TEMPFAIL, try again."""
_KILL_WAIT_S = 60.0


def end_job(stop: StopRequested, folder: Path, max_timeouts: int) -> int:
    """Requeue the Slurm job that this process is, if it was warned.

    Parameters
    ----------
    stop
        The request.
    folder
        The stage's folder, which keeps count.
    max_timeouts
        How often one job may run into its time limit and be requeued.

    Returns
    -------
    Exit status, for a process that is not killed by being requeued.
    """
    job_id = os.environ.get("SLURM_JOB_ID")
    logger.info("%s; what is finished is saved, and the same command goes on from there", stop)
    if stop.signal is not signal.SIGUSR1 or job_id is None:
        return STOPPED
    job = _show_job(job_id)
    if job is None:
        logger.error("scontrol cannot be run here, so job %s cannot requeue itself; submit it again.", job_id)
        return STOPPED
    if not was_preempted(job) and not _count_timeout(folder, job_id, max_timeouts):
        logger.error(
            "job %s has run into its time limit %d times and is not requeued; give it more time.", job_id, max_timeouts
        )
        return STOPPED
    # Being requeued kills us, which is no request to stop.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    requeued = subprocess.run(["scontrol", "requeue", job_id], capture_output=True, text=True, check=False)
    if requeued.returncode:
        logger.error("job %s cannot be requeued: %s; submit it again.", job_id, requeued.stderr.strip())
        return STOPPED
    logger.info("job %s is queued again", job_id)
    time.sleep(_KILL_WAIT_S)
    return STOPPED


def was_preempted(job: str) -> bool:
    """Say whether a job that was warned gives way to another, from what `scontrol show job` prints of it."""
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
