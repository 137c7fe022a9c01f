"""Slurm's commands, as functions: submit, query, cancel.

Each look at the queue is one command for all jobs, whatever their number, and tolerates that the
accounting database is away.
"""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from l3embedding.jobs.slurm.script import SITE
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

_TRANSIENT = re.compile(r"timed out|unable to contact|temporarily|connection refused|try again", re.IGNORECASE)
_ATTEMPTS = 5
_COMMAND_S = 120.0

LIVE = frozenset(
    {"PENDING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD"}
)
"""States of a job that has not ended."""


@dataclass(frozen=True)
class JobRow:
    """One job, or one task of an array, as Slurm reports it."""

    job_id: str  # of the job; for a task, that of its array
    state: str  # such as `PENDING`
    elapsed: str  # such as `1-02:03:04`
    reason: str  # why it waits
    comment: str  # the key that the launcher gave it
    index: int | None = None  # of a task in its array; None outside of arrays, and for several waiting tasks

    @property
    def is_live(self) -> bool:
        """Whether it runs, or waits and can still run."""
        return self.state in LIVE and self.reason != "DependencyNeverSatisfied"

    @property
    def has_failed(self) -> bool:
        """Whether it ended unsuccessfully, or can never run."""
        return not self.is_live and self.state != "COMPLETED"


class SubmissionFailed(InputError):
    """sbatch refused; the message is its own."""


def require_slurm() -> None:
    """Check that Slurm is available.

    Raises
    ------
    InputError
        There is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise InputError("sbatch was not found. Run this on a login node of a Slurm cluster, or with --executor local.")


def sbatch_command(script: Path, options: Sequence[str], dependencies: Sequence[str]) -> list[str]:
    """The sbatch command that submits a script, after the site's own options."""
    after = [f"--dependency=afterok:{':'.join(dependencies)}", "--kill-on-invalid-dep=yes"] if dependencies else []
    return ["sbatch", "--parsable", *options, *after, str(script)]


def check(script: Path, options: Sequence[str]) -> None:
    """Ask Slurm whether it would accept a script, without submitting it.

    Raises
    ------
    SubmissionFailed
        It would not.
    """
    tested = _with_site([*sbatch_command(script, [*options, "--test-only"], ())])
    if tested.returncode:
        raise SubmissionFailed(f"sbatch refuses {script}: {_message(tested)}")


def submit(script: Path, options: Sequence[str], dependencies: Sequence[str], key: str) -> str:
    """Submit a script, trying again while the controller is busy, and return the job's id.

    `key` becomes the job's comment. A controller that did not answer in time may have accepted the job all the same;
    by this it is found again.

    Raises
    ------
    SubmissionFailed
        sbatch refused.
    """
    command = sbatch_command(script, [*options, f"--comment={key}"], dependencies)
    for attempt in range(_ATTEMPTS):
        submitted = _with_site(command)
        if submitted.returncode == 0:
            return submitted.stdout.strip().splitlines()[-1].partition(";")[0]
        if not _TRANSIENT.search(submitted.stderr):
            break
        logger.warning("sbatch: %s; trying again", _message(submitted))
        time.sleep(2**attempt)
        if (accepted := find(key)) is not None:
            return accepted
    raise SubmissionFailed(f"sbatch refuses {script}: {_message(submitted)}")


def find(key: str) -> str | None:
    """The id of the job with this comment, if Slurm knows one."""
    return next((row.job_id for row in queue() if row.comment == key), None)


def queue() -> list[JobRow]:
    """All of the user's jobs that the controller remembers, also those that ended a while ago.

    Raises
    ------
    InputError
        The controller does not answer.
    """
    for attempt in range(_ATTEMPTS):
        asked = _run(["squeue", "--me", "--states=all", "--array", "--noheader", "--format=%F|%K|%T|%M|%r|%k"])
        if asked.returncode == 0:
            rows = [line.split("|", 5) for line in asked.stdout.splitlines() if line.count("|") >= 5]
            return [
                JobRow(job_id, state, elapsed, why, key, _index(index))
                for job_id, index, state, elapsed, why, key in rows
            ]
        logger.warning("squeue: %s; trying again", _message(asked))
        time.sleep(2**attempt)
    raise InputError(f"The Slurm controller does not answer: {_message(asked)}.")


def by_comment(rows: Iterable[JobRow]) -> dict[str, list[JobRow]]:
    """Group the tasks of each job."""
    grouped: dict[str, list[JobRow]] = {}
    for row in rows:
        grouped.setdefault(row.comment, []).append(row)
    return grouped


def is_healthy(rows: Sequence[JobRow]) -> bool:
    """Whether a job of these tasks waits or runs, and can still succeed."""
    return any(row.is_live for row in rows) and not any(row.has_failed for row in rows)


def accounting(job_ids: Iterable[str]) -> list[JobRow]:
    """What the accounting database remembers of jobs that the controller has forgotten; nothing if there is none."""
    job_ids = sorted(set(job_ids))
    if not job_ids or shutil.which("sacct") is None:
        return []
    fields = "--format=JobID,State,Elapsed,Comment"
    asked = _run(["sacct", "-X", "--noheader", "--parsable2", fields, "--jobs", ",".join(job_ids)])
    rows = [line.split("|", 3) for line in asked.stdout.splitlines() if line.count("|") >= 3]
    # 12_[3-5], CANCELLED by 0
    return [
        JobRow(job.partition("_")[0], state.split()[0], elapsed, "", key, _index(job.partition("_")[2]))
        for job, state, elapsed, key in rows
    ]


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended are passed over.

    Raises
    ------
    InputError
        scancel refused.
    """
    if not job_ids:
        return
    cancelled = _run(["scancel", *job_ids])
    if cancelled.returncode and "Invalid job id" not in cancelled.stderr:
        raise InputError(f"scancel: {_message(cancelled)}")


def _index(text: str) -> int | None:
    """An index in an array; None of `N/A`, or of several as `[3-5]`."""
    return int(text) if text.isdigit() else None


def _with_site(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run sbatch in the environment, and with the options, of `jobs/site.sh`."""
    words = f'sbatch "${{SEA_SBATCH_OPTIONS[@]}}" {shlex.join(command[1:])}'
    return _run(["bash", "-c", f"SEA_SBATCH_OPTIONS=(); source {shlex.quote(str(SITE))} && exec {words}"])


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMMAND_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} timed out after {_COMMAND_S:.0f} s")


def _message(ended: subprocess.CompletedProcess[str]) -> str:
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in ended.stderr.strip().splitlines()]
    return "; ".join(lines) or f"exit status {ended.returncode}"
