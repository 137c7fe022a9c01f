"""Submit a chain: what is done is left out, what is queued is kept, the rest is submitted.

Running it again after it was killed at any point leaves every task with exactly one job.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.files import make_folder, write_text
from jobs.chain import Task
from jobs.slurm import cluster
from jobs.slurm.ledger import Ledger, Submission
from jobs.slurm.script import JobSettings, build_script, job_file, log_file, stage_options

logger = logging.getLogger(__name__)

_IN_FLIGHT_S = 10.0
"""An sbatch whose launcher was killed has reached the controller by then, or never will."""


@dataclass(frozen=True)
class Job:
    """A task and the script that does it."""

    task: Task
    path: Path
    script: str
    options: list[str]
    num_tasks: int
    log: Path

    @property
    def hash(self) -> str:
        """Of all that sbatch is told, but for the dependencies."""
        return hashlib.sha256("\n".join([self.script, *self.options]).encode()).hexdigest()


def make_jobs(tasks: Sequence[Task], settings: JobSettings, output_dir: Path) -> list[Job]:
    """Build the scripts of tasks.

    Raises
    ------
    InputError
        A job file is missing.
    """
    jobs = []
    for task in tasks:
        source, num_tasks = job_file(task), settings.num_tasks(task)
        if not source.is_file():
            raise InputError(f"{source}, which says the resources of {task.name}, is missing.")
        log = log_file(task, output_dir / "logs", num_tasks)
        script = build_script(
            task, source.read_text(encoding="utf-8"), settings, Path.cwd(), output_dir / "logs", sys.executable
        )
        path = output_dir / "slurm" / f"{task.name.replace(' ', ',')}.sbatch"
        jobs.append(Job(task, path, script, stage_options(task, settings), num_tasks, log))
    return jobs


def submit_chain(jobs: Sequence[Job], done: set[Path], output_dir: Path) -> dict[str, Submission]:
    """Submit the jobs that are not queued yet, parents first.

    Parameters
    ----------
    jobs
        Of the tasks that are not done, parents first.
    done
        Folders of the tasks that are.
    output_dir
        Folder of the run.

    Returns
    -------
    The submission of each task, by its name.

    Raises
    ------
    InputError
        The chain cannot run: then nothing was submitted. Or sbatch refused a job: then those before
        it are queued, and running it again goes on there.
    """
    cluster.require_slurm()
    ledger = Ledger(output_dir)
    with ledger.held():
        known = _recover(ledger)
        rows = cluster.by_comment(cluster.queue())
        healthy = {key for key, each in rows.items() if cluster.is_healthy(each)}
        _check_chain(jobs, done, known, healthy)
        make_folder(output_dir / "logs")
        for position, job in enumerate(jobs, start=1):
            heading = f"[{position}/{len(jobs)}] {job.task.name}"
            dependencies = tuple(known[parent.name].job_id or "" for parent in parents_to_await(job.task, done))
            earlier = known.get(job.task.name)
            if earlier and earlier.job_id and (queued := rows.get(earlier.key)):
                same = (earlier.script_hash, earlier.dependencies) == (job.hash, dependencies)
                if same and earlier.key in healthy:
                    logger.info("%s: job %s is queued already", heading, earlier.job_id)
                    continue
                if any(row.state in cluster.LIVE for row in queued):
                    why = "it can no longer succeed" if same else "what it does has changed"
                    logger.info("%s: job %s is cancelled, since %s", heading, earlier.job_id, why)
                    cluster.cancel([earlier.job_id])
            intended = ledger.intend(job.task.name, job.hash, dependencies, job.num_tasks, job.log)
            job_id = cluster.submit(job.path, job.options, dependencies, intended.key)
            known[job.task.name] = ledger.record(intended, job_id)
            logger.info("%s: job %s", heading, job_id)
    return {job.task.name: known[job.task.name] for job in jobs}


def _recover(ledger: Ledger) -> dict[str, Submission]:
    """The submissions so far; what a killed launcher did not hear, Slurm is asked."""
    known = ledger.latest()
    for name, submission in list(known.items()):
        if submission.job_id is not None:
            continue
        job_id = cluster.find(submission.key)
        while job_id is None and time.time() < submission.time + _IN_FLIGHT_S:
            time.sleep(0.5)
            job_id = cluster.find(submission.key)
        if job_id is not None:
            logger.info("%s: job %s was submitted by a launcher that was killed", name, job_id)
            known[name] = ledger.record(submission, job_id)
    return known


def _check_chain(jobs: Sequence[Job], done: set[Path], known: dict[str, Submission], healthy: set[str]) -> None:
    """Refuse a chain that cannot run, before anything is submitted."""
    selected = {job.task.name for job in jobs}
    for job in jobs:
        for parent in job.task.parents:
            queued = parent.name in known and known[parent.name].key in healthy
            if parent.folder not in done and parent.name not in selected and not queued:
                raise InputError(
                    f"{job.task.name} needs {parent.name}, which is neither done nor queued nor selected. "
                    "Start from an earlier stage."
                )
        for name, path in job.task.inputs.items():
            if not any(path.is_relative_to(parent.folder) for parent in job.task.parents) and not path.exists():
                raise InputError(f"{name}: {path}, which {job.task.name} reads, does not exist.")
    for job in jobs:
        write_text(job.path, job.script)
    # Jobs of one header differ in nothing that Slurm could refuse.
    distinct = {(job_file(job.task), tuple(job.options)): job for job in jobs}
    for job in distinct.values():
        cluster.check(job.path, job.options)


def parents_to_await(task: Task, done: set[Path]) -> list[Task]:
    """The parents that a task must wait for, without those that another of them waits for anyway."""
    waiting = [parent for parent in task.parents if parent.folder not in done]
    implied = {ancestor.folder for parent in waiting for ancestor in _ancestors(parent)}
    return [parent for parent in waiting if parent.folder not in implied]


def _ancestors(task: Task) -> list[Task]:
    return [each for parent in task.parents for each in (parent, *_ancestors(parent))]
