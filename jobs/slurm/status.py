"""The state of a run: of its folders, of the journals in them, and of the jobs in Slurm."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from l3embedding.jobs.chain import Task
from l3embedding.jobs.folder import DONE
from l3embedding.jobs.journal import read_run
from l3embedding.jobs.outlook import Standing
from l3embedding.jobs.slurm import cluster
from l3embedding.jobs.slurm.cluster import JobRow
from l3embedding.jobs.slurm.ledger import Ledger, Submission
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

_LAST_BYTES = 16_384
_JOB_ERROR = re.compile(r"(error: |(srun|slurmstepd\S*|bash|.*\.sbatch): )")
"""What a job prints that ends before its program has opened the journal."""
_KILLED = "killed before it could report an error"


@dataclass(frozen=True)
class TaskStatus:
    """A row of the table of tasks."""

    task: str  # its name
    jobs: str  # id of its job, if it has one
    state: str  # done, running, pending, failed, cancelled, interrupted, outdated or to do
    progress: str  # of an array: tasks done, and how many there are
    elapsed: str  # as `H:MM:SS`
    reason: str  # why it waits, or why it failed
    log: str  # its newest log


def run_status(outlook: Sequence[Standing], output_dir: Path) -> tuple[list[TaskStatus], str]:
    """Report on all tasks of a run: a row per task, and a remark if Slurm could not be asked."""
    submissions = Ledger(output_dir).latest()
    rows, remark = _ask(submissions.values()) if submissions else ({}, "")
    lines: list[TaskStatus] = []
    failed: dict[str, str] = {}
    for task, state, why in outlook:
        submission = submissions.get(task.name)
        line = describe(task, state, submission, submission.rows_in(rows) if submission else [], failed)
        line = line if line.reason else replace(line, reason=why)
        if line.state in ("failed", "cancelled"):
            failed[task.name] = line.state
        lines.append(line)
    return lines, remark


def describe(
    task: Task, folder_state: str, submission: Submission | None, rows: Sequence[JobRow], failed: Mapping[str, str]
) -> TaskStatus:
    """Combine the state of a task's folder with that of its job.

    `submission` and `rows` are its job, if it was submitted, and the job's rows in Slurm's queue; `failed` names the
    tasks before it that failed or were cancelled.
    """
    logs = task_logs(submission) if submission else []
    log = str(max(logs, key=lambda path: path.stat().st_mtime)) if logs else ""
    job_id = submission.slurm_id if submission else ""
    progress = ""
    if submission and submission.num_tasks > 1:
        n_done = submission.num_tasks if folder_state == "done" else task.stage_folder.parts_done()
        progress = f"{n_done}/{submission.num_tasks}"
    if folder_state == "done":
        seconds = round(read_json(task.folder / DONE)["elapsed_s"])
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return TaskStatus(task.name, job_id, "done", progress, clock, "", log)
    state, reason = _job_state(folder_state, submission, rows)
    # Slurm writes 1-02:03:04: of two times the longer text is the longer time.
    elapsed = max(
        (row.elapsed for row in rows if row.state != "PENDING"), key=lambda text: (len(text), text), default=""
    )
    if state in ("failed", "cancelled"):
        parent = next((parent.name for parent in task.parents if parent.name in failed), None)
        if parent and not any(row.state in ("FAILED", "TIMEOUT", "OUT_OF_MEMORY") for row in rows):
            state, reason = "cancelled", f"{parent} {failed[parent]}"
        else:
            since = submission.time if submission else 0.0
            reason = "; ".join(filter(None, [reason, last_error(task.folder, logs, since)]))
    return TaskStatus(task.name, job_id, state, progress, elapsed, reason, log)


def _job_state(folder_state: str, submission: Submission | None, rows: Sequence[JobRow]) -> tuple[str, str]:
    if submission is None:
        return folder_state, ""
    if not rows:
        if submission.job_id is None:
            return folder_state, "the launcher was killed while it submitted; run it again"
        return "running" if folder_state == "running" else "failed", "Slurm no longer knows the job"
    count = Counter(row.state for row in rows)
    if any(row.reason == "DependencyNeverSatisfied" for row in rows):
        return "failed", "DependencyNeverSatisfied"
    if ended_badly := sorted({row.state for row in rows if row.has_failed}):
        state = "cancelled" if ended_badly == ["CANCELLED"] else "failed"
        of = f" of {len(rows)} tasks " if len(rows) > 1 else ""
        return state, ", ".join(f"{count[each]}{of}{each}" if of else each for each in ended_badly)
    running = sum(count[each] for each in ("RUNNING", "COMPLETING"))
    if running:
        return "running", f"{running} of {len(rows)} tasks" if len(rows) > 1 else ""
    if count["COMPLETED"] == len(rows):
        return "failed", "the job ended, but its folder is not done"
    return "pending", next((row.reason for row in rows if row.is_live and row.reason != "None"), "")


def last_error(folder: Path, logs: Sequence[Path], since: float) -> str:
    """Why the last attempt of a task failed that was submitted at `since`, Unix seconds.

    The journal knows what its program reported. A program that was killed could not report anything, and the last
    line of its log is none of the reason. Only a job that ended before the journal was opened is looked up there.
    """
    run = read_run(folder)
    if run and datetime.fromisoformat(run.updated).timestamp() >= since:
        return {"failed": run.error, "running": _KILLED}.get(run.status, "")
    lines: list[str] = []
    for log in sorted(logs, key=lambda path: path.stat().st_mtime):
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            lines += file.read().decode(errors="replace").splitlines()
    errors = [line.strip() for line in lines if _JOB_ERROR.match(line)]
    return errors[-1] if errors else ""


def task_logs(submission: Submission) -> list[Path]:
    """The logs that a submission has written, in the order of its tasks."""
    names = [submission.log]
    if submission.num_tasks > 1:
        names = [submission.log.replace("@TASK@", str(index)) for index in range(submission.num_tasks)]
    return [path for path in map(Path, names) if path.is_file()]


def _ask(submissions: Collection[Submission]) -> tuple[dict[str, list[JobRow]], str]:
    try:
        cluster.require_slurm()
        rows = cluster.by_comment(cluster.queue())
    except InputError as error:
        return {}, str(error)
    forgotten = [each for each in submissions if each.job_id and not each.rows_in(rows)]
    for row in cluster.accounting(each.job_id for each in forgotten if each.job_id):
        for submission in forgotten:
            # The database may not keep comments; ids are all there is then.
            same_job = submission.job_id == row.job_id and row.comment in ("", submission.key)
            if same_job and (submission.index is None or row.index in (None, submission.index)):
                rows.setdefault(submission.key, []).append(row)
    return rows, ""
