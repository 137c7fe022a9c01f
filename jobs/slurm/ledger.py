"""The ledger: which jobs were submitted for which task, written down the moment sbatch answers.

A launcher may die between any two instructions. So each submission is two lines of
`slurm/jobs.jsonl` in the run's folder: one before sbatch is called, with a key that becomes the job's
comment, and one with the job's id after. Where the second is missing, the key finds the job.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data.errors import InputError
from data.files import make_folder


@dataclass(frozen=True)
class Submission:
    """One submission of one task.

    Attributes
    ----------
    task
        The task's name.
    key
        The job's comment; it is like no other, whereas ids may be used again.
    script_hash
        Of the text submitted.
    dependencies
        Ids of the jobs it waits for.
    num_tasks
        Tasks of the array; 1 if it is none.
    log
        Where it writes; `@TASK@` stands for the index in an array.
    time
        When, Unix seconds.
    job_id
        What Slurm answered; None if nobody heard it.
    """

    task: str
    key: str
    script_hash: str
    dependencies: tuple[str, ...]
    num_tasks: int
    log: str
    time: float
    job_id: str | None = None


class Ledger:
    """The submissions of one run's folder."""

    def __init__(self, output_dir: Path) -> None:
        self._folder = output_dir / "slurm"
        self._path = self._folder / "jobs.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other launchers out.

        Raises
        ------
        InputError
            One is at work.
        """
        make_folder(self._folder)
        with open(self._folder / ".lock", "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"Another `sea` submits the jobs of {self._folder.parent} just now.") from None
            yield

    def latest(self) -> dict[str, Submission]:
        """The last submission of each task."""
        submissions: dict[str, Submission] = {}
        for entry in self._entries():
            if "task" in entry:
                entry["dependencies"] = tuple(entry["dependencies"])
                submissions[entry["key"]] = Submission(**entry)
            elif entry["key"] in submissions:
                submissions[entry["key"]] = replace(submissions[entry["key"]], job_id=entry["job_id"])
        return {each.task: each for each in submissions.values()}

    def intend(
        self, task: str, script_hash: str, dependencies: tuple[str, ...], num_tasks: int, log: Path
    ) -> Submission:
        """Write down that a task is about to be submitted."""
        key = f"sea-{secrets.token_hex(8)}"
        make_folder(self._folder)
        submission = Submission(task, key, script_hash, dependencies, num_tasks, str(log), time.time())
        self._append({name: value for name, value in asdict(submission).items() if name != "job_id"})
        return submission

    def record(self, submission: Submission, job_id: str) -> Submission:
        """Write down the id that Slurm gave a submission."""
        self._append({"key": submission.key, "job_id": job_id})
        return replace(submission, job_id=job_id)

    def _entries(self) -> Iterator[dict]:
        if not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # torn by a launcher that was killed: sbatch had not been called

    def _append(self, entry: dict) -> None:
        with open(self._path, "a+b") as file:
            # After a torn line, a new one.
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
