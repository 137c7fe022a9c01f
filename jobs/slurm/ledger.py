"""The ledger: which jobs were submitted for which task, written down the moment sbatch answers.

A launcher may die between any two instructions. So each submission is written to `slurm/jobs.jsonl` in
the run's folder twice: before sbatch is called, a line a task with a key that becomes the job's comment,
and after, a line with the job's id. Where the second is missing, the key finds the job.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from l3embedding.jobs.slurm.cluster import JobRow
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder


@dataclass(frozen=True)
class Submission:
    """One submission of one task."""

    task: str  # its name
    key: str
    """The job's comment: unique, whereas Slurm may use an id again. The tasks of one array over seeds share it."""
    script_hash: str  # of the text submitted
    dependencies: tuple[str, ...]  # ids of the jobs it waits for
    num_tasks: int  # tasks of the array; 1 if it is none
    log: str  # where it writes; `@TASK@` stands for the index in an array
    time: float  # when, Unix seconds
    index: int | None = None  # the task's index in an array over seeds; None if its job is its own
    job_id: str | None = None  # None if the launcher was killed before it arrived

    @property
    def slurm_id(self) -> str:
        """The job's id, as Slurm's commands take it; empty if it is unknown."""
        if self.job_id is None or self.index is None:
            return self.job_id or ""
        return f"{self.job_id}_{self.index}"

    def rows_in(self, rows: Mapping[str, Sequence[JobRow]]) -> list[JobRow]:
        """The rows of the task's job among those of all keys."""
        return [row for row in rows.get(self.key, ()) if self.index is None or row.index in (None, self.index)]


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
                submissions[entry["task"]] = Submission(**entry)
                continue
            for task, each in submissions.items():
                if each.key == entry["key"]:
                    submissions[task] = replace(each, job_id=entry["job_id"])
        return submissions

    def intend(self, submissions: Sequence[Submission]) -> None:
        """Write down that tasks are about to be submitted."""
        make_folder(self._folder)
        self._append(
            [{name: value for name, value in asdict(each).items() if name != "job_id"} for each in submissions]
        )

    def record(self, key: str, job_id: str) -> None:
        """Write down the id that Slurm gave the job of a key."""
        self._append([{"key": key, "job_id": job_id}])

    def _entries(self) -> Iterator[dict[str, Any]]:
        if not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue  # torn by a launcher that was killed: sbatch had not been called

    def _append(self, entries: Sequence[dict[str, Any]]) -> None:
        with open(self._path, "a+b") as file:
            # After a torn line, a new one.
            if file.tell() and not self._path.read_bytes().endswith(b"\n"):
                file.write(b"\n")
            file.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
            file.flush()
            os.fsync(file.fileno())
