"""Submit a chain: skip what is done, keep what is queued, submit the rest.

Tasks that differ only in the seed are submitted as one array, and still tracked one by one: an array that is
submitted again leaves out the tasks that are done or queued. A launcher may be killed at any point: after the next
run every task has exactly one job.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import secrets
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from l3embedding.jobs.chain import Task, require_inputs
from l3embedding.jobs.slurm import cluster
from l3embedding.jobs.slurm.cluster import JobRow
from l3embedding.jobs.slurm.ledger import Ledger, Submission
from l3embedding.jobs.slurm.script import (
    SEED,
    build_script,
    job_file,
    log_file,
    num_tasks,
    stage_options,
    with_any_seed,
)
from l3embedding.settings import Experiment
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, write_text

logger = logging.getLogger(__name__)

_IN_FLIGHT_S = 10.0
"""An sbatch whose launcher was killed has reached the controller by then, or never will."""


_MAX_INDEX = 1000
"""The greatest index of an array in Slurm's default configuration; a greater seed has a job of its own."""


@dataclass(frozen=True)
class Job:
    """A task and the script that does it."""

    task: Task
    path: Path
    script: str
    options: list[str]
    num_tasks: int
    log: Path
    source: Path

    @property
    def hash(self) -> str:
        """Of all that sbatch is told, but for the dependencies."""
        return hashlib.sha256("\n".join([self.script, *self.options]).encode()).hexdigest()


def make_jobs(tasks: Sequence[Task], experiment: Experiment, output_dir: Path) -> list[Job]:
    """Build the scripts of tasks.

    Raises
    ------
    InputError
        A job file is missing.
    """
    jobs = []
    for task in tasks:
        source, shared_by = job_file(task), num_tasks(task, experiment.slurm)
        if not source.is_file():
            raise InputError(f"{source}, which declares the resources of {task.name}, is missing.")
        log = log_file(task, output_dir / "logs", shared_by)
        header = source.read_text(encoding="utf-8")
        script = build_script([task], header, experiment, Path.cwd(), output_dir / "logs", sys.executable)
        path = output_dir / "slurm" / f"{task.file_name}.sbatch"
        jobs.append(Job(task, path, script, stage_options(task, experiment), shared_by, log, source))
    return jobs


def bundle(jobs: Sequence[Job]) -> list[list[Job]]:
    """Put neighbours together that differ in nothing but the seed: each bundle is submitted as one array."""
    return [list(group) for _, group in itertools.groupby(jobs, _but_for_seed)]


def _but_for_seed(job: Job) -> tuple[object, ...]:
    seed = job.task.arguments.get(SEED)
    if seed is None or not 0 <= seed <= _MAX_INDEX or f",{SEED}={seed}" not in job.task.name:
        return (job.task.name,)
    parameters = {name: value for name, value in job.task.arguments.items() if name != SEED}
    return (with_any_seed(job.task.name, "*"), str(parameters), str(job.task.inputs), *job.options)


def script_of(jobs: Sequence[Job], experiment: Experiment, output_dir: Path) -> tuple[Path, str]:
    """Where the script of a bundle goes, and the script: the job's own, or that of an array over seeds."""
    first = jobs[0]
    if len(jobs) == 1:
        return first.path, first.script
    header, log_dir = first.source.read_text(encoding="utf-8"), output_dir / "logs"
    script = build_script([job.task for job in jobs], header, experiment, Path.cwd(), log_dir, sys.executable)
    seeds = "+".join(str(job.task.arguments[SEED]) for job in jobs)
    return first.path.with_name(with_any_seed(first.path.name, seeds)), script


def submit_chain(
    jobs: Sequence[Job], done: set[Path], experiment: Experiment, output_dir: Path
) -> dict[str, Submission]:
    """Submit the jobs that are not queued yet, parents first; returns the submission of each task, by its name.

    `done` are the folders of the tasks that need no job.

    Raises
    ------
    InputError
        The chain cannot run: then nothing was submitted. Or sbatch refused a job: then those before
        it are queued, and the same command submits the rest.
    """
    cluster.require_slurm()
    ledger = Ledger(output_dir)
    with ledger.held():
        known = _recover(ledger)
        rows = cluster.by_comment(cluster.queue())
        healthy = {name for name, each in known.items() if cluster.is_healthy(each.rows_in(rows))}
        _check_chain(jobs, done, healthy)
        make_folder(output_dir / "logs")
        headings = {job.task.name: f"[{n}/{len(jobs)}] {job.task.name}" for n, job in enumerate(jobs, start=1)}
        for group in bundle(jobs):
            # They have the same parents.
            dependencies = tuple(known[each.name].slurm_id for each in parents_to_await(group[0].task, done))
            earlier = {name: (each, each.rows_in(rows)) for name, each in known.items() if each.job_id}
            todo = [job for job in group if not _is_kept(job, dependencies, earlier, headings[job.task.name])]
            if todo:
                path, script = script_of(todo, experiment, output_dir)
                write_text(path, script)
                for submitted in _submit(ledger, todo, path, dependencies):
                    known[submitted.task] = submitted
                    logger.info("%s: job %s", headings[submitted.task], submitted.slurm_id)
    return {job.task.name: known[job.task.name] for job in jobs}


def _is_kept(
    job: Job, dependencies: tuple[str, ...], known: Mapping[str, tuple[Submission, list[JobRow]]], heading: str
) -> bool:
    """Whether a task is queued as it should be; if it is queued otherwise, that job is cancelled."""
    earlier, queued = known.get(job.task.name, (None, []))
    if earlier is None or not queued:
        return False
    same = (earlier.script_hash, earlier.dependencies) == (job.hash, dependencies)
    if same and cluster.is_healthy(queued):
        logger.info("%s: job %s is queued already", heading, earlier.slurm_id)
        return True
    if any(row.state in cluster.LIVE for row in queued):
        why = "it can no longer succeed" if same else "what it does has changed"
        logger.info("%s: job %s is cancelled, since %s", heading, earlier.slurm_id, why)
        cluster.cancel([earlier.slurm_id])
    return False


def _submit(ledger: Ledger, jobs: Sequence[Job], path: Path, dependencies: tuple[str, ...]) -> list[Submission]:
    """Submit one job, or one array of several; returns the submission of each task."""
    key = f"sea-{secrets.token_hex(8)}"
    intended = [
        Submission(
            job.task.name,
            key,
            job.hash,
            dependencies,
            job.num_tasks,
            str(job.log),
            time.time(),
            index=job.task.arguments[SEED] if len(jobs) > 1 else None,
        )
        for job in jobs
    ]
    ledger.intend(intended)
    job_id = cluster.submit(path, jobs[0].options, dependencies, key)
    ledger.record(key, job_id)
    return [replace(each, job_id=job_id) for each in intended]


def _recover(ledger: Ledger) -> dict[str, Submission]:
    """The submissions so far; Slurm is asked for ids that a killed launcher did not receive."""
    unanswered = {each.key: each for each in ledger.latest().values() if each.job_id is None}
    for key, submission in unanswered.items():
        job_id = cluster.find(key)
        while job_id is None and time.time() < submission.time + _IN_FLIGHT_S:
            time.sleep(0.5)
            job_id = cluster.find(key)
        if job_id is not None:
            logger.info("%s: job %s was submitted by a launcher that was killed", submission.task, job_id)
            ledger.record(key, job_id)
    return ledger.latest()


def _check_chain(jobs: Sequence[Job], done: set[Path], healthy: Collection[str]) -> None:
    """Refuse a chain that cannot run, before anything is submitted; `healthy` names the tasks that are queued."""
    selected = {job.task.name for job in jobs}
    for job in jobs:
        for parent in job.task.parents:
            if parent.folder not in done and parent.name not in selected and parent.name not in healthy:
                raise InputError(
                    f"{job.task.name} needs {parent.name}, which is neither done nor queued nor selected. "
                    "Start from an earlier stage."
                )
    require_inputs(job.task for job in jobs)
    for job in jobs:
        write_text(job.path, job.script)
    # Jobs of one header differ in nothing that Slurm could refuse.
    distinct = {(job.source, *job.options): job for job in jobs}
    for job in distinct.values():
        cluster.check(job.path, job.options)


def parents_to_await(task: Task, done: set[Path]) -> list[Task]:
    """The parents that a task must wait for, without those that another of them waits for anyway."""
    waiting = [parent for parent in task.parents if parent.folder not in done]
    implied = {ancestor.folder for parent in waiting for ancestor in _ancestors(parent)}
    return [parent for parent in waiting if parent.folder not in implied]


def _ancestors(task: Task) -> list[Task]:
    return [each for parent in task.parents for each in (parent, *_ancestors(parent))]
